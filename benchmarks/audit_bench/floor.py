"""A group commit and nothing else: the least that waiting producers cost in this interpreter."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from benchmarks.audit_bench.contenders import Raw

if TYPE_CHECKING:
    from pathlib import Path


class GroupCommit(Raw):
    """One thread appends and syncs what waits, then wakes each producer.

    No record is made, numbered, hashed, signed, delivered or counted; the bytes are the same.  What
    is measured is the queue, the system calls and the hand-overs between threads.
    """

    name = "group commit alone"
    modes = ("one", "threads:64", "tasks:64")

    def open(self, directory: Path, sink: str, runner: asyncio.Runner) -> None:
        """Start the thread."""
        super().open(directory, sink, runner)
        self._loop = runner.get_loop()
        self._waiting: deque[threading.Lock | asyncio.Future[None]] = deque()
        self._wake = threading.Semaphore(0)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, index: int) -> bool:
        """Wait for the commit, in a thread."""
        del index
        done = threading.Lock()
        done.acquire()
        self._waiting.append(done)
        self._wake.release()
        return done.acquire()

    async def put_async(self, index: int) -> bool:
        """Wait for the commit, in a task."""
        del index
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(done)
        self._wake.release()
        await done
        return True

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True
        self._wake.release()
        self._thread.join()
        super().close()

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.acquire()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
                os.write(self._handle, self._data * len(batch))
                os.fdatasync(self._handle)
                tasks: list[asyncio.Future[None]] = []
                for one in batch:
                    if isinstance(one, asyncio.Future):
                        tasks.append(one)
                    else:
                        one.release()
                if tasks:
                    self._loop.call_soon_threadsafe(_answer, tasks)


def _answer(tasks: list[asyncio.Future[None]]) -> None:
    for one in tasks:
        one.set_result(None)
