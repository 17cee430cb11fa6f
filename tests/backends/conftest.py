"""One stack of real backends for all tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kaizen_otel._stack import COMPONENTS, NativeStack, StackPorts, ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    """All four components on free ports."""
    with NativeStack(
        directory=tmp_path_factory.mktemp("stack"), ports=StackPorts.free()
    ) as native_stack:
        obtained_or_skip(native_stack, COMPONENTS)
        native_stack.up()
        yield native_stack


def obtained_or_skip(native_stack: NativeStack, components: tuple[str, ...]) -> None:
    """Obtain first: only a missing tool is a reason to skip, and the skip names it."""
    try:
        native_stack.obtain(components)
    except ToolMissingError as error:
        pytest.skip(str(error))
