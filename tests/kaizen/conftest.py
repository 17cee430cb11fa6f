"""Fixtures shared by the tests with real Kaizen agents."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from kaizen_otel.integrations import kaizen
from tests.unit.integrations.recorder import RecordingManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kaizen.agents import Untyped


@pytest.fixture(autouse=True)
def quiet_framework() -> Iterator[None]:
    """Kaizen logs every failed run at ERROR; what it logs is not what is tested."""
    logger = logging.getLogger("kaizen")
    level, logger.level = logger.level, logging.CRITICAL
    yield
    logger.level = level


@pytest.fixture
def recording() -> Iterator[RecordingManager]:
    """A manager whose seam records; at the end every operation must have ended."""
    manager = RecordingManager()
    yield manager
    manager.operations.check_settled()


@pytest.fixture
def observe(recording: RecordingManager) -> Iterator[Callable[..., Untyped]]:
    """Observe an agent with the recording manager; undone at the end."""
    observed: list[Untyped] = []

    def enable(agent: Untyped, **arguments: Untyped) -> Untyped:
        kaizen.enable_observability(agent, **{"manager": recording.manager, **arguments})
        observed.append(agent)
        return agent

    yield enable
    for agent in observed:
        kaizen.disable_observability(agent)
