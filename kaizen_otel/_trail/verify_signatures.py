"""Check signatures in other processes: one takes as long as reading dozens of records."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from kaizen_otel._trail.processes import spawned
from kaizen_otel.audit.signatures import verify_signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future, ProcessPoolExecutor

    from kaizen_otel.audit.verify import SignatureTask

BATCH: Final = 1024
_AHEAD: Final = 4


def check_batch(batch: Sequence[tuple[bytes, bytes, bytes]]) -> list[int]:
    """Return which of (public key, signature, hash) do not hold."""
    return [
        index
        for index, (public_key, signature, digest) in enumerate(batch)
        if not verify_signature(public_key, signature, digest)
    ]


class PooledSignatures:
    """Checks signatures in ``jobs`` processes, which are started when there are many to check.

    Memory is bounded: who submits waits when the processes do not keep up.
    """

    def __init__(self, jobs: int) -> None:
        """Start nothing yet."""
        self.checked = 0
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None
        self._batch: list[SignatureTask] = []
        self._running: deque[tuple[list[SignatureTask], Future[list[int]]]] = deque()
        self._bad: list[SignatureTask] = []

    def submit(self, task: SignatureTask) -> None:
        """Have one checked."""
        self._batch.append(task)
        if len(self._batch) >= BATCH:
            self._send()

    def bad(self) -> Iterator[SignatureTask]:
        """Wait for all that were submitted and yield those that do not hold."""
        if self._batch:
            self._note(self._batch, check_batch([task[:3] for task in self._batch]))
            self._batch = []
        while self._running:
            self._take()
        yield from self._bad
        self._bad = []

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _send(self) -> None:
        batch, self._batch = self._batch, []
        if self._jobs < 2:  # noqa: PLR2004 - one process is this one
            self._note(batch, check_batch([task[:3] for task in batch]))
            return
        if self._pool is None:
            self._pool = spawned(self._jobs)
        if len(self._running) >= self._jobs * _AHEAD:
            self._take()
        try:
            future = self._pool.submit(check_batch, [task[:3] for task in batch])
        except RuntimeError:  # the processes were ended from outside
            self._note(batch, check_batch([task[:3] for task in batch]))
        else:
            self._running.append((batch, future))

    def _take(self) -> None:
        batch, future = self._running.popleft()
        try:
            found = future.result()
        except Exception:  # noqa: BLE001 - a process was ended from outside: do it here
            found = check_batch([task[:3] for task in batch])
        self._note(batch, found)

    def _note(self, batch: list[SignatureTask], found: list[int]) -> None:
        self.checked += len(batch)
        self._bad += [batch[index] for index in found]
