"""The Resource of a process: one, whoever asks for it first."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

from kaizen_otel._resource import once_per_process


def test_threads_that_ask_at_once_are_given_the_same_resource() -> None:
    """Each record binds the Resource by its hash: a second one would look like tampering."""
    numbers = itertools.count(1)
    both = threading.Barrier(2, timeout=10)

    def make() -> bytes:
        both.wait()
        return b"%d" % next(numbers)

    resource = once_per_process(make)
    with ThreadPoolExecutor(2) as pool:
        first, second = [pool.submit(resource) for _ in range(2)]
    assert first.result() == second.result() == resource()
