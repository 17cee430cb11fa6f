from __future__ import annotations

import random
import threading

import pytest
from opentelemetry import trace

from kaizen_otel import semconv
from kaizen_otel._otlp.decode import plain_attributes
from kaizen_otel.errors import AuditUnavailableError
from tests.unit.hooks.seam import Seam


def test_an_agent_is_the_root_and_its_tools_and_models_are_its_children() -> None:
    seam = Seam()
    ops = seam.operations
    ops.begin("invoke_agent", "run", name="Shop")
    ops.begin("execute_tool", "t1", "run", name="search")
    ops.end("t1")
    ops.begin("chat", "m1", "run", {semconv.GEN_AI_PROVIDER_NAME: "openai"}, name="gpt-x")
    ops.end("m1", {semconv.GEN_AI_USAGE_INPUT_TOKENS: 7, semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 3})
    ops.end("run")
    assert seam.tree() == {
        "execute_tool search": "invoke_agent Shop",
        "chat gpt-x": "invoke_agent Shop",
        "invoke_agent Shop": None,
    }
    assert seam.span("chat gpt-x")["kind"] == 3
    assert len({span["traceId"] for span in seam.spans}) == 1
    assert not seam.opened.by_id


def test_without_a_parent_id_the_current_span_is_the_parent() -> None:
    seam = Seam()
    seam.operations.begin("invoke_agent", "outer", name="Outer")
    with seam.operations.current("outer"):
        seam.operations.begin("invoke_agent", "inner", name="Inner")
        seam.operations.end("inner")
    seam.operations.end("outer")
    assert seam.tree()["invoke_agent Inner"] == "invoke_agent Outer"
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_error_is_on_the_span_and_on_its_metric_alike() -> None:
    seam = Seam()
    seam.operations.begin("execute_tool", "t", name="search")
    seam.operations.end("t", error=TimeoutError("too slow"))
    span = seam.span("execute_tool search")
    assert span["status"]["code"] == 2
    assert span["attributes"]["error.type"] == "timeout"
    _zero, point = seam.metric("gen_ai.execute_tool.duration")["histogram"]["dataPoints"]
    assert plain_attributes(point["attributes"])["error.type"] == "timeout"


def test_a_metric_has_exactly_the_duration_of_its_span() -> None:
    seam = Seam()
    seam.operations.begin("execute_tool", "t", name="search")
    seam.operations.end("t")
    span = seam.span("execute_tool search")
    _zero, point = seam.metric("gen_ai.execute_tool.duration")["histogram"]["dataPoints"]
    nanoseconds = int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])
    assert point["sum"] == pytest.approx(nanoseconds / 1e9, abs=1e-12)


def test_an_exception_is_logged_once_where_it_is_first_seen() -> None:
    seam = Seam()
    error = ValueError("bad input")
    seam.operations.begin("invoke_agent", "run", name="Shop")
    seam.operations.begin("execute_tool", "t", "run", name="search")
    seam.operations.end("t", error=error)
    seam.operations.end("run", error=error)
    events = [record["eventName"] for record in seam.logs]
    assert events == ["kaizen.agent.start", "kaizen.agent.exception", "kaizen.agent.end"]


def test_content_is_not_sent_unless_its_capture_is_asked_for() -> None:
    attributes = {semconv.GEN_AI_TOOL_CALL_ARGUMENTS: "my secret plan", "kaizen.cycle": 1}
    for capture in (False, True):
        seam = Seam(capture_content=capture)
        seam.operations.begin("execute_tool", "t", attributes=attributes, name="search")
        seam.operations.end("t", {semconv.GEN_AI_TOOL_CALL_RESULT: "my secret answer"})
        found = seam.span("execute_tool search")["attributes"]
        assert (semconv.GEN_AI_TOOL_CALL_ARGUMENTS in found) is capture
        assert (semconv.GEN_AI_TOOL_CALL_RESULT in found) is capture
        assert found["kaizen.cycle"] == 1


def test_an_exceptions_message_is_content_and_its_type_is_not() -> None:
    """Validation errors quote their input, HTTP errors their address, models' errors the prompt."""
    for capture in (False, True):
        seam = Seam(capture_content=capture)
        seam.operations.begin("invoke_agent", "run", name="Shop")
        seam.operations.end("run", error=ValueError("no customer Maria Müller"))
        span = seam.span("invoke_agent Shop")
        assert ("Maria" in str(span)) is capture
        assert ("Maria" in str(seam.logs)) is capture
        assert "exception.type" in str(span["events"])
        assert span["status"]["message"] == (
            "no customer Maria Müller" if capture else "ValueError"
        )
        assert span["attributes"]["error.type"] == "ValueError"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("tool_error", "tool_error"), ("openai.RateLimitError", "openai.RateLimitError"),
        ("OAuth2Error", "OAuth2Error"), ("E11000", "E11000"), ("http_429", "http_429"),
        ("timeout-5", "timeout-5"),
        ("no customer Maria", "_OTHER"), ("sk-live-vl3KWEA66UO3Kq7abc", "_OTHER"),
        ("4299001734123456", "_OTHER"), ("x" * 81, "_OTHER"), ("", "_OTHER"),
        ("a1b2c3d4e5f6", "_OTHER"), ("_" * 60 + "!", "_OTHER"),
    ],
)  # fmt: skip
def test_an_error_given_as_text_is_a_code_or_nothing(error: str, expected: str) -> None:
    """It becomes an attribute of metrics, which are few by design and are not redacted."""
    assert semconv.error_type(error) == expected


def test_a_tool_has_an_intent_before_and_an_outcome_after() -> None:
    seam = Seam()
    seam.operations.begin("execute_tool", "t", name="pay")
    assert [r[1]["kaizen.audit.phase"] for r in seam.audit.records] == ["intent"]
    seam.operations.end("t", error="denied")
    intent, outcome = (attributes for _, attributes in seam.audit.records)
    assert outcome["kaizen.audit.phase"] == "outcome"
    assert outcome["audit.outcome"] == "failure"
    assert outcome["kaizen.audit.intent_id"] == intent["kaizen.audit.intent_id"]


def test_the_start_of_an_agent_is_an_intent_whose_outcome_names_it() -> None:
    """Else a verifier would note every run as one without an outcome."""
    seam = Seam()
    seam.operations.begin("invoke_agent", "a", name="shop")
    seam.operations.end("a")
    start, end = (attributes for _, attributes in seam.audit.records)
    assert [start["kaizen.audit.phase"], end["kaizen.audit.phase"]] == ["intent", "outcome"]
    assert end["kaizen.audit.intent_id"] == start["kaizen.audit.intent_id"]


def test_with_block_action_a_tool_does_not_begin_without_a_durable_intent() -> None:
    seam = Seam(block_action=True)
    seam.audit.durable = False
    with pytest.raises(AuditUnavailableError, match="KAIZEN_OTEL_SPOOL_DIR"):
        seam.operations.begin("execute_tool", "t", name="pay")
    assert not seam.operations.is_open("t")
    assert seam.span("execute_tool pay")["status"]["code"] == 2


def test_begin_twice_ends_the_older_one_and_is_counted() -> None:
    seam = Seam()
    seam.operations.begin("execute_tool", "t", name="a")
    seam.operations.begin("execute_tool", "t", name="b")
    seam.operations.end("t")
    assert {span["name"] for span in seam.spans} == {"execute_tool a", "execute_tool b"}
    assert seam.faults("begin_twice") == 1


def test_end_without_begin_is_counted_and_not_raised() -> None:
    seam = Seam()
    seam.operations.end("never seen")
    assert seam.spans == []
    assert seam.faults("end_without_begin") == 1


def test_abandon_ends_all_descendants_children_before_parents() -> None:
    seam = Seam()
    ops = seam.operations
    ops.begin("invoke_agent", "run", name="Shop")
    ops.begin("invoke_agent", "nested", "run", name="Inner")
    ops.begin("execute_tool", "t", "nested", name="search")
    assert ops.abandon("run", "orphaned") == 2
    ops.end("run")
    order = [span["name"] for span in seam.spans]
    assert order == ["execute_tool search", "invoke_agent Inner", "invoke_agent Shop"]
    assert seam.span("execute_tool search")["attributes"]["error.type"] == "orphaned"
    assert seam.faults("begin_without_end") == 2


def test_a_hostile_attribute_neither_raises_nor_loses_the_span() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

        def __hash__(self) -> int:
            raise RuntimeError

    seam = Seam()
    seam.operations.begin("execute_tool", "t", attributes={"x": Hostile()}, name="search")
    seam.operations.end("t", {"y": Hostile()}, error=ValueError(Hostile()))
    assert seam.span("execute_tool search")["status"]["code"] == 2


@pytest.mark.parametrize(
    ("vocabulary", "present", "absent"),
    [
        ("default", {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"},
         {"gen_ai.client.inference.duration"}),
        ("latest", {"gen_ai.client.inference.duration",
                    "gen_ai.client.inference.usage.input_tokens",
                    "gen_ai.client.inference.operation.output_tokens",
                    "gen_ai.invoke_agent.tool_calls"},
         {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"}),
        ("dup", {"gen_ai.client.inference.duration", "gen_ai.client.operation.duration",
                 "gen_ai.client.token.usage"}, set()),
    ],
)  # fmt: skip
def test_each_vocabulary_has_its_own_metrics(
    vocabulary: str, present: set[str], absent: set[str]
) -> None:
    seam = Seam(vocabulary=vocabulary)
    seam.operations.begin("invoke_agent", "run", name="Shop")
    seam.operations.begin("chat", "m", "run", name="gpt-x")
    seam.operations.end(
        "m", {semconv.GEN_AI_USAGE_INPUT_TOKENS: 7, semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 3}
    )
    seam.operations.end("run")
    names = seam.metric_names()
    assert present <= names
    assert not absent & names


def test_no_metric_has_an_attribute_that_its_users_can_make_unbounded() -> None:
    seam = Seam(vocabulary="dup")
    unbounded = {
        semconv.KAIZEN_AGENT_ID: "agent_123", semconv.GEN_AI_CONVERSATION_ID: "c-1",
        semconv.KAIZEN_RUN_ID: "r-1", "user.id": "u-1", semconv.GEN_AI_TOOL_CALL_ID: "x",
    }  # fmt: skip
    for number, operation in enumerate(semconv.RULES):
        seam.operations.begin(operation, number, attributes=unbounded, name="n")
        seam.operations.end(number, error=ValueError("x"))
    for name in seam.metric_names():
        metric = seam.metric(name)
        kind = next(k for k in ("sum", "gauge", "histogram") if k in metric)
        for point in metric[kind]["dataPoints"]:
            assert set(plain_attributes(point.get("attributes"))) <= semconv.METRIC_ATTRIBUTES


def test_the_seed_style_draws_a_pre_span_with_its_post_child() -> None:
    seam = Seam(seed_style=True)
    seam.operations.begin("invoke_agent", "run", name="Shop")
    seam.operations.begin("execute_tool", "t", "run", name="search")
    seam.operations.end("t")
    seam.operations.end("run")
    assert seam.tree() == {
        "post_tool_use:search": "pre_tool_use:search",
        "pre_tool_use:search": "pre_agent_loop",
        "post_agent_loop": "pre_agent_loop",
        "pre_agent_loop": None,
    }


def test_2000_randomized_operations_in_threads_all_end_under_their_own_parents() -> None:
    seam = Seam()
    ops = seam.operations

    def agent(worker: int) -> None:
        random_ = random.Random(worker)
        for run in range(50):
            root = (worker, run)
            ops.begin("invoke_agent", root, name=f"A{worker}.{run}")
            tools = [(worker, run, n) for n in range(random_.randrange(1, 6))]
            for tool in tools:
                ops.begin("execute_tool", tool, root, name=f"T{worker}.{run}.{tool[2]}")
            random_.shuffle(tools)
            for tool in tools:
                ops.end(tool, error=random_.choice([None, "failed", ValueError("x")]))
            ops.end(root)

    threads = [threading.Thread(target=agent, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tree = seam.tree()
    assert len(tree) == len(seam.spans) > 800
    for name, parent in tree.items():
        if name.startswith("execute_tool"):
            assert (
                parent == "invoke_agent A" + name.removeprefix("execute_tool T").rsplit(".", 1)[0]
            )
        else:
            assert parent is None
    assert not seam.opened.by_id
