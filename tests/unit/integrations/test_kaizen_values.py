"""What Kaizen's values mean, without Kaizen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kaizen_otel import semconv
from kaizen_otel.errors import ConfigError
from kaizen_otel.hook_types import HookEvent
from kaizen_otel.integrations import _kaizen_values as values


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"success": False, "type": "ValueError"}, "ValueError"),
        ({"success": False, "error_type": "RateLimited", "type": "x"}, "RateLimited"),
        ({"success": False, "error": "a text with 1 secret"}, "_OTHER"),
        ({"success": False, "type": "no code at all"}, "_OTHER"),
        (SimpleNamespace(success=False, error="x"), "_OTHER"),
        ({"success": True, "error": "JSON_PARSE_FAILED"}, None),
        ({"success": 0}, None),
        ({}, None),
        (SimpleNamespace(), None),
        ("text", None),
        (None, None),
    ],
)
def test_only_success_false_is_a_failure_and_its_code_is_short(
    result: object, code: str | None
) -> None:
    assert values.failure_of(result) == code


def test_only_ids_made_of_an_address_are_default_ids() -> None:
    assert values.is_default_agent_id("agent_140563126723536")
    assert not values.is_default_agent_id("agent_smith")
    assert not values.is_default_agent_id("my_agent_1")


def test_text_is_measured_without_being_rendered_and_within_bounds() -> None:
    assert values.text_size({"turns": [{"user": "ab", "agent": "c", "n": 7}], "x": None}) == 3
    assert values.text_size(["x"] * 2_000) == 2_000
    assert values.text_size(["x"] * 1_000_000) is None
    circular: list[Any] = ["ab"]
    circular.append(circular)
    assert values.text_size(circular) is None


def test_turns_are_counted_where_a_memory_says_how_many() -> None:
    assert values.record_count({"turns": [1, 2], "turn_count": 2}) == 2
    assert values.record_count([1, 2, 3]) == 3
    assert values.record_count({"summary": "x"}) is None
    assert values.record_count("text") is None


@pytest.mark.parametrize(
    ("kaizen", "convention"),
    [
        ("openai", "openai"),
        ("azure", "azure.ai.openai"),
        ("Bedrock_Claude", "aws.bedrock"),
        ("mock", "mock"),
        (None, "unknown"),
    ],
)
def test_providers_have_the_conventions_names(kaizen: object, convention: str) -> None:
    assert values.provider_name(kaizen) == convention


def test_a_deployment_says_where_it_is() -> None:
    deployment = SimpleNamespace(
        preset_name=None,
        wire=SimpleNamespace(name="OllamaNative"),
        endpoint=SimpleNamespace(base_url="https://models.example:8443/v1"),
    )
    assert values.deployment_attributes(deployment) == {
        semconv.GEN_AI_PROVIDER_NAME: "ollamanative",
        semconv.SERVER_ADDRESS: "models.example",
        semconv.SERVER_PORT: 8443,
    }
    assert values.deployment_attributes(None) == {semconv.GEN_AI_PROVIDER_NAME: "unknown"}


def test_both_shapes_of_a_response_say_the_same() -> None:
    expected = {
        semconv.GEN_AI_RESPONSE_MODEL: "m-1",
        semconv.GEN_AI_RESPONSE_FINISH_REASONS: ["stop"],
        semconv.GEN_AI_USAGE_INPUT_TOKENS: 3,
        semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 0,
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 0, "estimated_cost_usd": 1.5}
    of_node = {
        "success": True,
        "response": {"model": "m-1", "finish_reason": "stop", "content": "secret"},
        "usage": usage,
    }
    of_client = {
        "model": "m-1",
        "stop_reason": "stop",
        "text": "secret",
        "usage": {"input_tokens": 3, "output_tokens": 0},
    }
    assert values.response_attributes(of_node) == expected
    assert values.response_attributes(of_client) == expected
    assert values.response_attributes(["not", "a", "mapping"]) == {}
    assert values.response_attributes({"usage": {"input_tokens": True}}) == {}


def test_request_arguments_are_taken_from_the_call_or_its_generation_config() -> None:
    arguments = {"generation_config": {"temperature": 0.1, "max_tokens": 9}, "temperature": 0.5}
    assert values.request_attributes(arguments) == {
        semconv.GEN_AI_REQUEST_TEMPERATURE: 0.5,
        semconv.GEN_AI_REQUEST_MAX_TOKENS: 9,
    }


class TestEventsToTrace:
    def test_none_is_everything(self) -> None:
        assert values.operations_of(None) is None

    def test_half_a_pair_is_the_pair(self) -> None:
        for event in (HookEvent.PRE_TOOL_USE, HookEvent.POST_TOOL_USE, "post_tool_use"):
            found = values.operations_of([event])
            assert found is not None
            assert "execute_tool" in found
            assert "invoke_agent" not in found

    def test_kaizens_own_members_and_the_seeds_names_are_known(self) -> None:
        kaizens = SimpleNamespace(value="pre_memory_load")
        reads = [kaizens, "pre_memory_read", "PRE_MEMORY_READ", HookEvent.PRE_MEMORY_READ]
        for event in reads:
            assert "search_memory" in (values.operations_of([event]) or ())
        for event in ("post_memory_write", "pre_memory_save"):
            assert "upsert_memory" in (values.operations_of([event]) or ())

    def test_model_events_select_all_model_operations(self) -> None:
        assert {"chat", "embeddings"} <= (values.operations_of(["pre_llm_call"]) or frozenset())

    def test_permission_checks_and_custom_events_have_a_name_of_their_own(self) -> None:
        events = ["pre_permission_check", HookEvent.custom("billing.checked"), "other.event"]
        assert values.operations_of(events) == frozenset(
            {"permission_check", "billing.checked", "other.event"}
        )  # fmt: skip

    @pytest.mark.parametrize("wrong", ["pre_tool_us", 7, "", None, "Bad.Event!"])
    def test_something_unknown_is_refused_and_named(self, wrong: object) -> None:
        with pytest.raises(ConfigError, match="events_to_trace"):
            values.operations_of([wrong])

    def test_one_text_instead_of_a_list_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="pass a list"):
            values.operations_of("pre_tool_use")
