"""Complaint 1: traces are missing, and nobody says which, how many or why.

langfuse#5552, #6594, #12974, langfuse-python#1752, mlflow#23820, #18483, kasal#54, langwatch#5937.

The stock SDK drops what its queue of 2,048 spans does not hold; it says "Queue full" once and never
how many.  A partial success of the receiver is a success for it.  (Its flush at the interpreter's
end works with current versions; that part of the complaint is not repeated here.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.complaints.kit import OURS, STOCK, run
from tests.export.servers import RawServer, answer, answering

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.complaints

COUNT = 10_000
STOCK_BURST = f"""
for number in range({COUNT}):
    with tracer.start_as_current_span("execute_tool work"):
        pass
"""
OUR_BURST = f"""
@traced_tool
def work():
    pass
for number in range({COUNT}):
    work()
assert observed.shutdown(60)
print(observed.ledger().line())
"""


def test_the_stock_sdk_loses_spans_of_a_burst_and_does_not_say_how_many(tmp_path: Path) -> None:
    peer = run(STOCK + STOCK_BURST, tmp_path)
    assert 0 < len(peer.spans) < COUNT
    lacking = COUNT - len(peer.spans)
    assert str(lacking) not in peer.printed + peer.warned


def test_ours_delivers_all_of_it_and_says_so(tmp_path: Path) -> None:
    ours = run(OURS + OUR_BURST, tmp_path)
    assert len({span["spanId"] for span in ours.spans}) == COUNT
    assert ours.printed.startswith(f"{COUNT} spans")
    assert "delivered, 0 dropped" in ours.printed
    assert ours.warned == ""


# ExportTraceServiceResponse { partial_success { rejected_spans: 2, error_message: "no room" } }
TWO_REJECTED = b"\x0a\x0b\x08\x02\x12\x07no room"


def test_the_stock_sdk_takes_a_partial_success_for_a_success_and_ours_counts_it(
    tmp_path: Path,
) -> None:
    handler = answering(answer(body=TWO_REJECTED, content_type="application/x-protobuf"))
    with RawServer(handler) as server:
        place = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.port}"}
        peer = run(STOCK + STOCK_BURST.replace(str(COUNT), "5"), tmp_path, **place)
        program = OUR_BURST.replace(str(COUNT), "5").replace("assert observed", "observed")
        ours = run(OURS + program, tmp_path, **place)
        assert len(server.requests) == 2
    assert "rejected" not in (peer.printed + peer.warned).lower()
    assert "no room" not in peer.printed + peer.warned
    assert "2 dropped (2 spans rejected)" in ours.printed
    assert "no room" in ours.warned
