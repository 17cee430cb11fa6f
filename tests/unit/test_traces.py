from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

from kaizen_otel._edges import shared_ids
from kaizen_otel._otlp.decode import decode_span, plain_attributes
from kaizen_otel._redaction import Redactor
from kaizen_otel.config import SpanLimits
from kaizen_otel.traces import Sampler, Span, SpanSettings


def make(sent: list[dict[str, Any]], **arguments: Any) -> Span:  # noqa: ANN401
    limits = arguments.pop("limits", SpanLimits())
    times = arguments.pop("times", None)
    settings = SpanSettings(
        sink=lambda data: sent.append(decode_span(data)), limits=limits, redactor=Redactor()
    )
    if times is not None:
        settings.time_ns = iter(times).__next__
    ids = shared_ids()
    return Span("work", settings, trace_id=ids.trace_id(), span_id=ids.span_id(), **arguments)


def test_a_span_is_sent_once_however_often_it_is_ended() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent)
    span.end()
    span.end()
    span.set_attribute("late", 1)
    assert len(sent) == 1
    assert "attributes" not in sent[0]


def test_attributes_events_and_links_over_the_limit_are_counted_in_the_span() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent, limits=SpanLimits(attribute_count=2, event_count=1, link_count=1))
    for number in range(5):
        span.set_attribute(f"k{number}", number)
        span.add_event(f"e{number}")
        span.add_link(SpanContext(1, 2, is_remote=False))
    span.end()
    (data,) = sent
    assert plain_attributes(data["attributes"]) == {"k0": 0, "k1": 1}
    assert (data["droppedAttributesCount"], data["droppedEventsCount"]) == (3, 4)
    assert data["droppedLinksCount"] == 4


def test_a_known_attribute_can_change_at_the_limit() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent, limits=SpanLimits(attribute_count=1))
    span.set_attribute("k", 1)
    span.set_attribute("k", 2)
    span.end()
    assert plain_attributes(sent[0]["attributes"]) == {"k": 2}
    assert "droppedAttributesCount" not in sent[0]


def test_strings_are_cut_at_the_length_limit() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent, limits=SpanLimits(attribute_length=3))
    span.set_attribute("k", "abcdef")
    span.end()
    assert plain_attributes(sent[0]["attributes"]) == {"k": "abc"}


def test_ok_is_final_and_unset_changes_nothing() -> None:
    span = make([])
    span.set_status(StatusCode.ERROR, "bad")
    span.set_status(StatusCode.UNSET)
    assert span.status == (2, "bad")
    span.set_status(StatusCode.OK, "ignored")
    span.set_status(StatusCode.ERROR, "late")
    assert span.status == (1, "")


def test_an_exception_leaves_its_type_a_redacted_message_and_goes_on() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent)
    with pytest.raises(ValueError, match="hunter2"), span:
        raise ValueError("password=hunter2")
    (data,) = sent
    assert data["status"]["code"] == 2
    assert plain_attributes(data["attributes"])["error.type"] == "ValueError"
    assert "hunter2" not in str(data)
    assert data["events"][0]["name"] == "exception"


def test_secrets_are_redacted_in_attributes_events_and_links() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent)
    secret = {"note": "password=hunter2", "api_key": "hunter2", "in": {"token": ["hunter2"]}}
    span.set_attributes(secret)
    span.add_event("e", secret)
    span.add_link(span.get_span_context(), secret)  # type: ignore[arg-type]
    span.end()
    assert "hunter2" not in str(sent)
    assert str(sent).count("[REDACTED:") == 9


def test_a_clock_that_steps_back_makes_no_negative_duration() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent, times=[2_000, 1_000])
    span.end()
    assert sent[0]["startTimeUnixNano"] == sent[0]["endTimeUnixNano"] == "2000"


def test_an_unsampled_span_is_not_sent_and_does_not_record() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent, sampled=False)
    assert not span.is_recording()
    assert span.get_span_context().trace_flags == TraceFlags(0)
    span.end()
    assert sent == []


@pytest.mark.parametrize(
    ("name", "argument", "parent", "expected"),
    [
        ("always_on", "", None, True),
        ("always_off", "", True, False),
        ("parentbased_always_on", "", False, False),
        ("parentbased_always_off", "", None, False),
        ("parentbased_always_off", "", True, True),
        ("traceidratio", "0", None, False),
        ("traceidratio", "1", None, True),
        ("parentbased_traceidratio", "0", True, True),
    ],
)
def test_samplers_decide_as_the_specification_says(
    name: str, argument: str, parent: bool | None, expected: bool
) -> None:
    warnings: list[str] = []
    sampler = Sampler(name, argument, warn=warnings.append)
    assert sampler.sampled(b"\x7f" * 16, parent=parent) is expected
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "argument"), [("nonsense", ""), ("traceidratio", "2"), ("traceidratio", "x")]
)
def test_an_unusable_sampler_is_warned_about_and_everything_is_sampled(
    name: str, argument: str
) -> None:
    warnings: list[str] = []
    sampler = Sampler(name, argument, warn=warnings.append)
    assert sampler.sampled(b"\xff" * 16, parent=None)
    assert "OTEL_TRACES_SAMPLER" in warnings[0]


def test_a_secret_in_an_attribute_is_redacted_in_what_is_sent() -> None:
    sent: list[dict[str, Any]] = []
    span = make(sent)
    span.set_attribute("note", "password=hunter2")
    span.set_attribute("db.password", "x")
    span.end()
    assert plain_attributes(sent[0]["attributes"]) == {
        "note": "[REDACTED:assignment]",
        "db.password": "[REDACTED:key]",
    }


def test_a_span_of_ten_minutes_keeps_its_length() -> None:
    sent: list[dict[str, Any]] = []
    ten_minutes_ns = 600 * 10**9
    span = make(sent, times=[10**18, 10**18 + ten_minutes_ns])
    span.end()
    assert int(sent[0]["endTimeUnixNano"]) - int(sent[0]["startTimeUnixNano"]) == ten_minutes_ns
    assert span.duration_ns == ten_minutes_ns
