"""Processes beside this one, for what holds the interpreter's lock."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor


def spawned(jobs: int) -> ProcessPoolExecutor:
    """Return a pool of so many; raises ``OSError`` on a machine without shared memory."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Not by fork: this process has read much, and may have threads.
    return ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts
    )


def _leave_interrupts() -> None:
    """Ctrl-C is for whoever asked: the processes end with it, and say nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
