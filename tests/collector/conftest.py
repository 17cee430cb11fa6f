"""Real Collector binaries, obtained as a user's would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import config_path
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path


def _binary(config: str) -> Path:
    try:
        return obtain([config_path(config)], progress=print, own=True).path
    except SetupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def dev_binary() -> Path:
    """Our own dev distribution, or another Collector that fits its config."""
    return _binary("dev")


@pytest.fixture(scope="session")
def gateway_binary() -> Path:
    """A Collector with our own elasticsearch exporter."""
    return _binary("gateway")
