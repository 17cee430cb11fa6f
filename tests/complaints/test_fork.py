"""Complaint 2: after a fork, as in workers of gunicorn, celery or multiprocessing, spans are lost.

opentelemetry-python#1497, #970, logfire#653, #741, #1670, SigNoz#10036.

The stock SDK starts its thread again in a forked child, so a worker that lives long delivers; what
a child of ``multiprocessing`` recorded last is lost with current versions too, because such a child
does not run what ``atexit`` holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.complaints.kit import OURS, STOCK, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.complaints

CHILDREN = 3
WORKERS = f"""
import multiprocessing
context = multiprocessing.get_context("fork")
work("before")
children = [context.Process(target=work, args=(f"child{{n}}",)) for n in range({CHILDREN})]
for one in children:
    one.start()
for one in children:
    one.join()
work("after")
assert [one.exitcode for one in children] == [0] * {CHILDREN}
"""
STOCK_WORK = """
def work(name):
    with tracer.start_as_current_span(f"execute_tool {name}"):
        pass
"""
OUR_WORK = """
def work(name):
    traced_tool(name=name)(lambda: None)()
"""
EXPECTED = sorted(
    f"execute_tool {name}" for name in ("before", "after", *(f"child{n}" for n in range(CHILDREN)))
)


def test_the_stock_sdk_loses_the_spans_of_forked_workers(tmp_path: Path) -> None:
    peer = run(STOCK + STOCK_WORK + WORKERS, tmp_path)
    assert peer.names() == ["execute_tool after", "execute_tool before"]
    assert peer.warned == "", "and it says nothing"


def test_ours_delivers_each_span_of_each_worker_once(tmp_path: Path) -> None:
    ours = run(OURS + OUR_WORK + WORKERS, tmp_path)
    assert ours.names() == EXPECTED
    assert len({span["resource"]["service.instance.id"] for span in ours.spans}) == 1 + CHILDREN
    assert ours.warned == ""
