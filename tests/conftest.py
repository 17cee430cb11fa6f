"""Marks every test by its folder, so that ``-m unit`` and ``tests/unit`` mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings

if TYPE_CHECKING:
    import pytest

_TESTS = Path(__file__).parent

#: Folders whose name is their marker.
_MARKED = {
    "unit",
    "property",
    "export",
    "kaizen",
    "crash",
    "trail",
    "contract",
    "collector",
    "backends",
    "containers",
    "chart",
    "audit",
    "e2e",
    "view",
    "cluster",
}

# Times on a shared machine say nothing; what an example may cost is bounded by the test's timeout.
settings.register_profile("kaizen-otel", deadline=None)
settings.load_profile("kaizen-otel")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        if folder in _MARKED:
            item.add_marker(folder)
