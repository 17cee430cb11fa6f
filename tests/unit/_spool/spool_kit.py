"""What the tests of spool and audit share: a clock to turn, ids in order, a scripted receiver."""

from __future__ import annotations

import itertools
import threading
import uuid
from typing import TYPE_CHECKING, TypedDict, Unpack

from kaizen_otel._export import Delivered, Outcome, Signal
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._otlp.decode import decode_logs_request
from kaizen_otel._otlp.json import iter_log_records
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._spool.shipper import Shipper
from kaizen_otel._spool.spool import Spool
from kaizen_otel.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._spool.framing import Finish
    from kaizen_otel._spool.segment import Gap

SECOND_NS = 10**9
ROOT = "/state/spool"
RESOURCE = encode_resource({"service.name": "test"})


class TurnedClock:
    """A clock that moves only when the test turns it; waiting for an event is real."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * SECOND_NS

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        return event.wait(timeout_ns / 1e9)

    def turn(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)


_NUMBERS = itertools.count(1)


class CountedIds:
    """Ids in order, none twice in a test run, with the time of a turned clock."""

    def __init__(self, clock: TurnedClock | None = None) -> None:
        self._clock = clock or TurnedClock()
        self._numbers = _NUMBERS

    def trace_id(self) -> bytes:
        return next(self._numbers).to_bytes(16, "big")

    def span_id(self) -> bytes:
        return next(self._numbers).to_bytes(8, "big")

    def uuid7(self) -> str:
        ms = self._clock.time_ns() // 10**6
        return str(uuid.UUID(int=ms << 80 | 7 << 76 | 2 << 62 | next(self._numbers)))

    def fraction(self) -> float:
        return 0.5


class Receiver:
    """A receiver that answers by a script, then always takes; it remembers what it took.

    ``taken`` holds the texts of the records whose request was answered with delivered and
    nothing rejected; ``sizes`` the number of records of every request, also of refused ones.
    """

    def __init__(self, script: Iterable[Outcome] = ()) -> None:
        self.script = list(script)
        self.taken: list[str] = []
        self.resources: list[object] = []
        self.sizes: list[int] = []
        self.refuses: Callable[[list[str]], Outcome | None] = lambda _: None
        self.is_closed = False

    @property
    def description(self) -> str:
        return "http://127.0.0.1:4319/v1/logs"

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        assert signal == "logs"
        assert deadline_ns > 0
        found = list(iter_log_records(decode_logs_request(body)))
        texts = [text_of(record) for record, _ in found]
        self.sizes.append(len(texts))
        outcome = self.script.pop(0) if self.script else self.refuses(texts) or Delivered()
        if isinstance(outcome, Delivered) and outcome.is_otlp and outcome.rejected_count == 0:
            self.taken += texts
            self.resources += [resource for _, resource in found]
        return outcome

    def close(self) -> None:
        self.is_closed = True


def text_of(record: dict[str, object]) -> str:
    body = record.get("body")
    return str(body.get("stringValue")) if isinstance(body, dict) else str(record.get("eventName"))


def payload(text: str, padding: int = 0) -> bytes:
    """An encoded log record whose body is the text."""
    return encode_log_record(
        time_ns=1, observed_ns=1, body=text, attributes={"p": "x" * padding} if padding else {}
    )


class SpoolOptions(TypedDict, total=False):
    """What a test may want otherwise."""

    segment_bytes_max: int
    bytes_max: int
    is_durable: bool
    finish: Finish
    warn: Callable[[str], None]


def make_spool(
    filesystem: Filesystem, clock: TurnedClock | None = None, **options: Unpack[SpoolOptions]
) -> Spool:
    clock = clock or TurnedClock()
    return Spool(
        ROOT,
        resource=RESOURCE,
        filesystem=filesystem,
        clock=clock,
        ids=CountedIds(clock),
        **options,
    )


def make_shipper(
    filesystem: Filesystem,
    spool: Spool | None,
    receiver: object,
    clock: TurnedClock,
    *,
    kind: type[Shipper] = Shipper,
    warnings: list[str] | None = None,
    gaps: list[Gap] | None = None,
) -> Shipper:
    return kind(
        ROOT,
        spool=spool,
        transport=receiver,  # type: ignore[arg-type]
        filesystem=filesystem,
        clock=clock,
        random_fraction=lambda: 0.5,
        warn=(warnings if warnings is not None else []).append,
        on_gap=(gaps if gaps is not None else []).append,
    )


def append(spool: Spool, text: str, **options: object) -> bool:
    """Append and wait; whether it was acknowledged."""
    try:
        spool.append(payload(text, 100), **options).result(10)  # type: ignore[arg-type]
    except SpoolError:
        return False
    return True


def run_until_idle(shipper: Shipper, *, steps_max: int = 200) -> int:
    """Step until nothing is due at once; the number of steps."""
    for number in range(1, steps_max):
        if shipper.step() > 0:
            return number
    raise AssertionError("the shipper does not come to rest")
