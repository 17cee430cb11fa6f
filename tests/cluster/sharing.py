"""One thing for several processes that run tests: the first makes it, the last to go ends it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kaizen_otel._edges import SystemClock
from kaizen_otel._stack.build import locked

Facts = dict[str, Any]

_POLL_NS = 100_000_000


@contextmanager
def shared(folder: Path, make: Callable[[], AbstractContextManager[Facts]]) -> Generator[Facts]:
    """What ``make`` yields (in JSON), made by one process for all that are in such a block.

    It ends in the process that made it, which therefore leaves last.
    """
    users, facts = folder / "users", folder / "facts.json"
    users.mkdir(parents=True, exist_ok=True)
    clock, never = SystemClock(), threading.Event()
    with ExitStack() as made:
        with _turn(folder):
            is_first = not _others(users)
            if is_first:
                facts.write_text(json.dumps(made.enter_context(make()), default=str))
            _own(users).touch()
        try:
            yield json.loads(facts.read_text())
        finally:
            while not _left(folder, users, is_first=is_first):
                clock.wait(never, _POLL_NS)


def _turn(folder: Path) -> AbstractContextManager[None]:
    return locked(folder / "lock", what="what the tests share")


def _left(folder: Path, users: Path, *, is_first: bool) -> bool:
    with _turn(folder):
        if is_first and _others(users):
            return False
        _own(users).unlink()
        return True


def _own(users: Path) -> Path:
    return users / str(os.getpid())


def _others(users: Path) -> list[str]:
    """Who else is in; one that was killed is not."""
    names = [path.name for path in users.iterdir() if path != _own(users)]
    return [name for name in names if Path("/proc", name).exists()]
