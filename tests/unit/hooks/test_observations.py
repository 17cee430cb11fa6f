"""What calls leave behind: nothing is lost, nothing changes, nothing is counted wrongly."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace

from kaizen_otel import semconv
from kaizen_otel._export.buffer import Buffer, Item, Ledger
from kaizen_otel._observations import VALUE_BYTES, Observation, Observations, capture, frozen
from kaizen_otel._otlp.common import encode_any_value
from kaizen_otel._otlp.decode import plain_attributes
from tests.unit.hooks.seam import Held, Seam

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel.config import ExemplarFilter


class Losing(Held):
    """The saboteur: forgets a value where it should derive some first."""

    def put(self, observation: Observation) -> None:
        """Drop it, uncounted, when there is no room."""
        if self._bytes_used + observation.size_bytes <= self._bytes_max:
            super().put(observation)


class Careless(Held):
    """The saboteur: takes a value out before what it becomes is offered."""

    def _derive_one(self, observation: Observation) -> None:
        self._bytes_used -= observation.size_bytes
        self._spans -= observation.spans
        self._logs -= observation.logs
        super()._derive_one(observation._replace(size_bytes=0, spans=0, logs=0))


def nothing(_: object) -> None:
    """Derive nothing."""


def observations(kind: type[Observations] = Held, bytes_max: int = 1 << 20) -> Observations:
    return kind(ledger=Ledger(), failed=nothing, bytes_max=bytes_max)


def value(number: int, send: Callable[[Any], object]) -> Observation:
    return Observation(nothing, send, number, VALUE_BYTES, 1, 0)


@pytest.mark.parametrize(("kind", "is_complete"), [(Held, True), (Observations, True),
                                                   (Losing, False)])  # fmt: skip
def test_who_finds_no_room_derives_what_waits_and_nothing_is_lost(
    kind: type[Observations], *, is_complete: bool
) -> None:
    found: list[int] = []
    one = observations(kind, bytes_max=20 * VALUE_BYTES)
    most = 0
    for number in range(500):
        one.put(value(number, found.append))
        most = max(most, one.pending("traces"))
    one.drain()
    assert (found == list(range(500))) is is_complete
    assert most <= 21
    assert one.pending("traces") == 0


def test_values_of_many_threads_are_each_derived_once_and_in_their_threads_order() -> None:
    found: list[tuple[int, int]] = []
    one = observations(Observations, bytes_max=50 * VALUE_BYTES)

    def leave(worker: int) -> None:
        for number in range(400):
            one.put(Observation(nothing, found.append, (worker, number), VALUE_BYTES, 1, 0))

    threads = [threading.Thread(target=leave, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close()
    for worker in range(6):
        assert [n for w, n in found if w == worker] == list(range(400))


def test_the_thread_derives_without_anybody_asking() -> None:
    derived = threading.Event()
    one = observations(Observations)
    one.put(value(1, lambda _: derived.set()))
    assert derived.wait(10)
    derived.clear()
    one.put(value(2, lambda _: derived.set()))
    assert derived.wait(10), "it is woken again after it has slept"
    one.close()


def test_a_fault_of_ours_is_told_and_the_others_go_on() -> None:
    found: list[object] = []
    told: list[BaseException] = []
    one = Held(ledger=Ledger(), failed=told.append)

    def fail(number: int) -> None:
        raise LookupError(number)

    one.put(value(1, fail))
    one.put(Observation(fail, found.append, 2, VALUE_BYTES, 1, 0))
    one.put(value(3, found.append))
    one.drain()
    assert found == [2, 3]
    assert [type(error) for error in told] == [LookupError, LookupError]
    assert one.pending("traces") == 0


def test_a_span_that_could_not_be_made_is_dropped_by_reason_and_its_log_goes_on() -> None:
    class Refusing(list[Any]):
        def append(self, item: object) -> None:
            raise LookupError(item)

    ledger = Ledger()
    seam = Seam(observations=Held(ledger=ledger, failed=nothing), spans=Refusing())
    seam.operations.begin("execute_tool", "t", name="search")
    seam.operations.end("t", error=ValueError("x"))
    flush(seam)
    traces = ledger.snapshot().signals["traces"]
    assert (traces.offered, traces.dropped) == (1, {"internal_error": 1})
    assert [one["eventName"] for one in seam.logs] == ["kaizen.agent.exception"]
    assert seam.faults("internal_error") == 1


def test_a_value_that_is_left_while_another_is_derived_on_this_thread_waits_its_turn() -> None:
    """A finaliser of the user's may end an operation at any point of our code."""
    found: list[object] = []
    one = observations()

    def leave_another(number: int) -> None:
        found.append(number)
        one.put(value(number + 1, found.append))
        one.drain()
        assert found == [number], "the second one waits until the first is finished"

    one.put(value(1, leave_another))
    one.drain()
    one.drain()
    assert found == [1, 2]


def test_after_the_end_a_value_is_derived_at_once() -> None:
    found: list[object] = []
    one = observations()
    one.close()
    one.put(value(1, found.append))
    assert found == [1]


def test_a_forked_child_has_none_of_the_values() -> None:
    found: list[object] = []
    one = observations()
    one.put(value(1, found.append))
    one.after_fork()
    one.drain()
    assert found == []
    assert one.pending("traces") == 0


@pytest.mark.parametrize(("kind", "is_exact"), [(Held, True), (Careless, False)])
def test_the_ledger_is_exact_at_every_step_and_offered_never_falls(
    kind: type[Observations], *, is_exact: bool
) -> None:
    ledger = Ledger()
    buffer = Buffer(bytes_max=4_000, ledger=ledger)
    one = kind(ledger=ledger, failed=nothing)
    offered: list[int] = []

    def look(_: object = None) -> None:
        snapshot = ledger.snapshot()
        assert snapshot.reconciles()
        offered.append(snapshot.signals["traces"].offered)

    def send(number: int) -> None:
        buffer.offer("traces", Item(b"", b"", "", b"%d" % number, 1))

    for number in range(400):
        one.put(Observation(look, send, number, VALUE_BYTES, 1, 0))
        look()
    before = ledger.snapshot().signals["traces"]
    assert (before.offered, before.buffered) == (400, 400)
    one.drain()
    after = ledger.snapshot().signals["traces"]
    assert after.offered == 400
    assert after.buffered + after.dropped["buffer_full"] == 400
    assert after.dropped["buffer_full"] > 0, "what had no room in the buffer is dropped there"
    assert (offered == sorted(offered)) is is_exact


def test_another_thread_never_sees_a_ledger_that_does_not_add_up() -> None:
    ledger = Ledger()
    buffer = Buffer(bytes_max=1 << 20, ledger=ledger)
    one = Observations(ledger=ledger, failed=nothing, bytes_max=64 * VALUE_BYTES)
    stop = threading.Event()
    seen: list[tuple[bool, int]] = []

    def watch() -> None:
        while not stop.is_set():
            snapshot = ledger.snapshot()
            seen.append((snapshot.reconciles(), snapshot.signals["traces"].offered))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(2000):
        one.put(value(number, lambda n: buffer.offer("traces", Item(b"", b"", "", b"%d" % n, 1))))
    one.close()
    stop.set()
    watcher.join()
    assert all(reconciles for reconciles, _ in seen)
    offered = [count for _, count in seen]
    assert offered == sorted(offered)
    assert ledger.snapshot().signals["traces"].buffered == 2000


def test_what_the_caller_changes_afterwards_is_not_sent() -> None:
    seam = Seam(observations=observations())
    rows: list[Any] = [1, {"deep": ["a"]}]
    seam.operations.begin("execute_tool", "t", attributes={"rows": rows}, name="search")
    seam.operations.event("billing.checked", {"rows": rows})
    span = seam.operations.span("t")
    assert span is not None
    span.add_event("step", {"rows": rows})
    seam.operations.end("t")
    rows.append(2)
    rows[1]["deep"].clear()
    flush(seam)
    sent = seam.span("execute_tool search")["attributes"]["rows"]
    assert sent == plain_attributes(seam.logs[0]["attributes"])["rows"]
    assert sent == plain_attributes(seam.spans[0]["events"][0]["attributes"])["rows"]
    assert str(sent).count("a") == 1
    assert "2" not in str(sent)


def test_code_of_a_value_runs_in_the_call_only() -> None:
    threads: list[int] = []

    class Telling:
        def __str__(self) -> str:
            threads.append(threading.get_ident())
            raise RuntimeError

    one = observations(Observations)
    seam = Seam(observations=one)
    seam.operations.begin("execute_tool", "t", attributes={"x": Telling()}, name="search")
    seam.operations.event("billing.checked", {"x": [Telling()]})
    seam.operations.end("t", {"y": Telling()}, error=ValueError(Telling()))
    one.close()
    assert set(threads) == {threading.get_ident()}
    found = seam.span("execute_tool search")["attributes"]
    assert found["x"] == found["y"] == "<Telling without text>"


@pytest.mark.parametrize(
    "given",
    ["text", 1, 2.5, None, True, b"b", bytearray(b"c"), [1, [2, "x"]], (1, 2), {"a": {"b": 1}},
     {1: 2}, range(3), 1 << 80, object, "\ud800"],
)  # fmt: skip
def test_what_is_captured_is_encoded_as_the_value_itself(given: object) -> None:
    assert encode_any_value(frozen(given)) == encode_any_value(given)


def test_a_value_of_a_hostile_class_is_captured() -> None:
    class Meta(type):
        def __hash__(cls) -> int:
            raise RuntimeError

    class Hostile(metaclass=Meta):
        @property  # type: ignore[misc]  # as a proxy does
        def __class__(self) -> type:
            raise RuntimeError

    seam = Seam(observations=observations())
    seam.operations.begin("execute_tool", "t", attributes={"x": Hostile()}, name="search")
    seam.operations.end("t")
    flush(seam)
    assert "Hostile" in str(seam.span("execute_tool search")["attributes"]["x"])
    assert len(seam.audit.records) == 2


def test_a_value_that_holds_itself_ends_where_the_encoder_ends_it() -> None:
    knot: list[Any] = []
    knot.append(knot)
    assert encode_any_value(frozen(knot)) == encode_any_value(knot)


def test_a_subclass_becomes_the_plain_value_and_its_methods_are_not_called() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise RuntimeError

    attributes: dict[str, object] = {"a": Text("x"), "b": "long " * 10}
    assert capture(attributes) >= 50
    assert type(attributes["a"]) is str
    assert attributes["a"] == "x"


def test_an_intent_comes_before_its_outcome_and_both_have_the_times_of_the_call() -> None:
    seam = Seam(observations=observations())
    for number in range(20):
        seam.operations.begin("execute_tool", number, name=f"t{number}")
    spans = [seam.operations.span(number) for number in range(20)]
    for number in reversed(range(20)):
        seam.operations.end(number)
    assert seam.audit.records == []
    flush(seam)
    phases = [a["kaizen.audit.phase"] for _, a in seam.audit.records]
    assert phases == ["intent"] * 20 + ["outcome"] * 20
    ids = [a["kaizen.audit.intent_id"] for _, a in seam.audit.records]
    assert ids[20:] == ids[19::-1]
    assert len(set(ids)) == 20
    assert seam.audit.times_ns[:20] == [span.start_ns for span in spans if span]
    assert seam.audit.times_ns[20:] == [span.end_ns for span in reversed(spans) if span]


def test_the_intent_says_what_was_known_when_it_was_declared() -> None:
    seam = Seam(observations=observations())
    known = {semconv.GEN_AI_TOOL_TYPE: "function"}
    seam.operations.begin("execute_tool", "t", attributes=known, name="pay")
    seam.operations.annotate("t", {semconv.GEN_AI_TOOL_TYPE: "extension"})
    seam.operations.end("t")
    flush(seam)
    types = [attributes[semconv.GEN_AI_TOOL_TYPE] for _, attributes in seam.audit.records]
    assert types == ["function", "extension"]


def test_an_audit_record_that_is_not_deferred_is_there_when_the_call_returns() -> None:
    seam = Seam(observations=observations(), defers_audit=False)
    seam.operations.begin("execute_tool", "t", name="pay")
    assert [a["kaizen.audit.phase"] for _, a in seam.audit.records] == ["intent"]
    seam.operations.end("t")
    seam.operations.event("kaizen.tool.denied", audit=True)
    assert len(seam.audit.records) == 3
    assert not seam.spans
    flush(seam)
    assert len(seam.audit.records) == 3
    assert len(seam.spans) == len(seam.logs) == 1


def test_an_event_belongs_to_the_span_that_was_current_in_the_call() -> None:
    seam = Seam(observations=observations())
    seam.operations.begin("invoke_agent", "a", name="A")
    with seam.operations.current("a") as span:
        seam.operations.event("billing.checked", {"amount": 3})
    flush(seam)
    (record,) = [one for one in seam.logs if one["eventName"] == "billing.checked"]
    assert span is not None
    assert record["spanId"] == span.span_id.hex()
    assert record["traceId"] == span.trace_id.hex()


def test_an_event_outside_of_every_span_has_no_ids_whoever_derives_it() -> None:
    seam = Seam(observations=observations())
    seam.operations.event("billing.checked", {"amount": 3})
    seam.operations.begin("invoke_agent", "a", name="A")
    with seam.operations.current("a"):
        flush(seam)
    record = seam.logs[0]
    assert record["eventName"] == "billing.checked"
    assert "traceId" not in record
    assert "spanId" not in record


def test_an_event_in_a_span_of_someone_else_belongs_to_that() -> None:
    seam = Seam(observations=observations())
    foreign = trace.SpanContext(0xA, 0xB, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(foreign)):
        seam.operations.event("billing.checked", {"amount": 3})
    flush(seam)
    assert int(seam.logs[0]["traceId"], 16) == 0xA
    assert int(seam.logs[0]["spanId"], 16) == 0xB


def test_a_span_is_over_for_its_holder_as_soon_as_the_operation_ends() -> None:
    seam = Seam(observations=observations())
    span = seam.operations.begin("execute_tool", "t", name="search")
    seam.operations.end("t")
    assert not span.is_recording()
    span.set_attribute("late", 1)
    span.end()
    flush(seam)
    assert "late" not in seam.span("execute_tool search")["attributes"]


@pytest.mark.parametrize("held", [True, False])
def test_everything_is_the_same_whether_it_is_derived_later_or_at_once(*, held: bool) -> None:
    seam = Seam(observations=observations() if held else None)
    ops = seam.operations
    ops.begin("invoke_agent", "run", name="Shop")
    ops.begin("execute_tool", "t", "run", {"kaizen.cycle": 1}, name="search")
    ops.end("t", error=ValueError("x"))
    ops.begin("chat", "m", "run", name="gpt-x")
    ops.end("m", {semconv.GEN_AI_USAGE_INPUT_TOKENS: 7})
    ops.end("run")
    flush(seam)
    assert seam.tree() == {
        "execute_tool search": "invoke_agent Shop",
        "chat gpt-x": "invoke_agent Shop",
        "invoke_agent Shop": None,
    }
    events = [record["eventName"] for record in seam.logs]
    assert events == ["kaizen.agent.start", "kaizen.agent.exception", "kaizen.agent.end"]
    assert seam.metrics.value("kaizen.agent.active", {"gen_ai.agent.name": "Shop"}) == 0
    assert {"gen_ai.execute_tool.duration", "gen_ai.client.token.usage"} <= seam.metric_names()
    names = [
        (name, found["kaizen.audit.phase"], found.get("audit.outcome", ""))
        for name, found in seam.audit.records
    ]
    assert names == [
        ("kaizen.agent.start", "intent", ""),
        ("kaizen.tool.execute", "intent", ""),
        ("kaizen.tool.execute", "outcome", "failure"),
        ("kaizen.model.call", "outcome", "success"),
        ("kaizen.agent.end", "outcome", "success"),
    ]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(
    ("exemplars", "sampler", "is_there"),
    [("trace_based", "always_on", True), ("trace_based", "always_off", False),
     ("always_on", "always_off", True), ("always_off", "always_on", False)],
)  # fmt: skip
def test_a_duration_leads_to_its_trace_by_the_standard_filter(
    exemplars: ExemplarFilter, sampler: str, *, is_there: bool, held: bool
) -> None:
    seam = Seam(observations=observations() if held else None, exemplars=exemplars, sampler=sampler)
    span = seam.operations.begin("execute_tool", "t", name="search")
    seam.operations.end("t")
    flush(seam)
    _zero, point = seam.metric("gen_ai.execute_tool.duration")["histogram"]["dataPoints"]
    found = [(one["traceId"], one["spanId"]) for one in point.get("exemplars", ())]
    assert found == ([(span.trace_id.hex(), span.span_id.hex())] if is_there else [])


def flush(seam: Seam) -> None:
    if seam.observations is not None:
        seam.observations.drain()
