from __future__ import annotations

import gc

import kaizen_otel
from kaizen_otel import ObservabilityManager, observability
from kaizen_otel.audit.record import OWN_EVENTS
from kaizen_otel.testing import OtlpCapture

pytest_plugins = ["kaizen_otel.testing.fixtures"]


def test_decorators_use_what_observe_made_and_else_the_newest_agents(
    otlp_capture: OtlpCapture,
) -> None:
    assert observability.current_manager() is None
    one = ObservabilityManager("one", enable_audit=False)
    two = ObservabilityManager("two", enable_audit=False)
    assert observability.current_manager() is two
    chosen = kaizen_otel.observe("chosen", enable_audit=False)
    assert observability.current_manager() is chosen
    for manager in (chosen, two, one):
        manager.shutdown()
    assert observability.current_manager() is None
    assert otlp_capture.endpoint


def test_the_last_manager_stops_the_pipeline_also_when_one_was_forgotten(
    otlp_capture: OtlpCapture,
) -> None:
    kept = ObservabilityManager("kept", enable_audit=False)
    forgotten = ObservabilityManager("forgotten", enable_audit=False)
    del forgotten
    gc.collect()
    kept.operations.begin("execute_tool", 1, name="x")
    kept.operations.end(1)
    assert kept.shutdown()
    assert observability.active_pipeline() is None
    assert [span["name"] for span in otlp_capture.spans()] == ["execute_tool x"]


def test_after_a_shutdown_a_new_manager_starts_a_new_pipeline(otlp_capture: OtlpCapture) -> None:
    for name in ("first", "second"):
        manager = kaizen_otel.observe(name, enable_audit=False)
        manager.operations.begin("execute_tool", 1, name=name)
        manager.operations.end(1)
        assert manager.shutdown()
        assert manager.shutdown(), "a second call does nothing"
    assert [s["name"] for s in otlp_capture.spans()] == [
        "execute_tool first",
        "execute_tool second",
    ]


def test_what_is_recorded_after_the_shutdown_is_counted_as_dropped(
    otlp_capture: OtlpCapture,
) -> None:
    manager = kaizen_otel.observe("late", enable_audit=False, enable_logging=False)
    manager.shutdown()
    manager.operations.begin("execute_tool", 1, name="late")
    manager.operations.end(1)
    traces = manager.ledger().signals["traces"]
    assert (traces.offered, dict(traces.dropped)) == (1, {"shutdown": 1})
    assert manager.ledger().reconciles()
    assert otlp_capture.spans() == []


def test_the_users_own_capture_sees_all_four_signals(otlp_capture: OtlpCapture) -> None:
    manager = kaizen_otel.observe("four")
    manager.operations.begin("invoke_agent", 1, name="A")
    manager.operations.end(1)
    assert manager.flush()
    manager.shutdown()
    assert [span["name"] for span in otlp_capture.spans()] == ["invoke_agent A"]
    assert "gen_ai.invoke_agent.duration" in {m["name"] for m in otlp_capture.metrics()}
    facts = [r for r in otlp_capture.logs() if r.get("eventName") not in OWN_EVENTS]
    phases = [r["attributes"].get("kaizen.audit.phase") for r in facts]
    assert sorted(map(str, phases)) == ["None", "None", "intent", "outcome"]
    names = [r.get("eventName") for r in otlp_capture.logs() if r.get("eventName") in OWN_EVENTS]
    assert sorted(map(str, names)) == ["kaizen.audit.started"] * 2 + ["kaizen.audit.stopped"] * 2, (
        "each once as an audit record and once as an anchor through the logs"
    )
