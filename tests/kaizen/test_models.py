"""Model calls through Kaizen's own client: attributes, streams, threads without context."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from kaizen.llm.client import LlmClient
from kaizen.llm.deployment import LlmDeployment
from kaizen.llm.errors import InvalidEndpoint

from kaizen_otel import semconv
from tests.kaizen.agents import config, model_agent, scripted_agent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.kaizen.agents import Untyped
    from tests.unit.integrations.recorder import RecordingManager

MESSAGES = [{"role": "user", "content": "hi"}]
ANSWER = {
    "model": "gpt-4o-2024",
    "choices": [{"message": {"content": "42"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}
CHUNKS = (
    '{"model": "gpt-4o-2024", "choices": [{"message": {"content": "4"}}]}',
    '{"choices": [{"message": {"content": "2"}}], "usage": {"completion_tokens": 2}}',
)


class Server:
    """The far end of Kaizen's client (its ``http_client`` argument), without a network."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def post(self, *_: Untyped, **__: Untyped) -> Untyped:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return SimpleNamespace(status_code=200, headers={}, text="", json=lambda: ANSWER)

    async def stream_lines(self, *_: Untyped, **__: Untyped) -> AsyncIterator[str]:
        for chunk in CHUNKS:
            await asyncio.sleep(0)
            yield f"data: {chunk}"
        yield "data: [DONE]"


def deployment() -> Untyped:
    """One that needs no name resolution: OpenAI's protocol, on this machine by its label."""
    return LlmDeployment.lm_studio("http://localhost:1234", "gpt-4o")


def client() -> Untyped:
    return LlmClient.from_deployment_sync(deployment())


def complete(made: Untyped, server: Server | None = None) -> Untyped:
    return made.complete(MESSAGES, temperature=0.5, max_tokens=9, http_client=server or Server())


def test_a_completion_inside_a_run_is_a_chat_span(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    async def script(*_: Untyped) -> Untyped:
        return {"answer": (await complete(client()))["text"]}

    assert observe(scripted_agent(script)).run(question="hi") == {"answer": "42"}
    assert recording.operations.trees() == [("invoke_agent ToolAgent", ["chat gpt-4o"])]
    chat = recording.operations.only("chat").attributes
    assert chat[semconv.GEN_AI_PROVIDER_NAME] == "lm_studio"
    assert chat[semconv.SERVER_ADDRESS] == "localhost"
    assert chat[semconv.SERVER_PORT] == 1234
    assert chat[semconv.GEN_AI_REQUEST_TEMPERATURE] == 0.5
    assert chat[semconv.GEN_AI_REQUEST_MAX_TOKENS] == 9
    assert chat[semconv.GEN_AI_RESPONSE_MODEL] == "gpt-4o-2024"
    assert chat[semconv.GEN_AI_RESPONSE_FINISH_REASONS] == ["stop"]
    assert chat[semconv.GEN_AI_USAGE_INPUT_TOKENS] == 11
    assert chat[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] == 7
    assert "42" not in chat.values()


def test_a_stream_is_one_span_with_the_time_to_its_first_chunk(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    async def script(*_: Untyped) -> Untyped:
        chunks = client().stream(MESSAGES, model="gpt-4o-mini", http_client=Server())
        return {"answer": "".join([chunk["text"] async for chunk in chunks])}

    assert observe(scripted_agent(script)).run(question="hi") == {"answer": "42"}
    chat = recording.operations.only("chat")
    assert chat.name == "gpt-4o-mini"
    first = chat.attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK]
    assert isinstance(first, float)
    assert first > 0
    assert chat.attributes[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] == 2


def test_a_deployment_that_does_not_stream_gives_one_span(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """Its ``stream`` is answered by ``complete``."""
    streaming = deployment().streaming.model_copy(update={"enabled": False})
    buffered = deployment().model_copy(update={"streaming": streaming})

    async def script(*_: Untyped) -> Untyped:
        chunks = LlmClient.from_deployment_sync(buffered).stream(MESSAGES, http_client=Server())
        return {"answer": [chunk["text"] async for chunk in chunks]}

    assert observe(scripted_agent(script)).run(question="hi") == {"answer": ["42"]}
    assert recording.operations.trees() == [("invoke_agent ToolAgent", ["chat gpt-4o"])]


def test_a_failed_call_fails_its_span_and_raises_the_same_error(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    failure = ConnectionError("no route")
    caught: list[BaseException] = []

    async def script(*_: Untyped) -> Untyped:
        try:
            await complete(client(), Server(failure))
        except ConnectionError as error:
            caught.append(error)
        return {"answer": "none"}

    observe(scripted_agent(script)).run(question="hi")
    assert caught == [failure]
    assert recording.operations.only("chat").error is failure
    assert recording.operations.only("invoke_agent").error is None


def test_a_client_used_in_a_thread_without_context_belongs_to_the_run_that_made_it(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """Kaizen does so under a running loop (nodes/ai/llm_agent.py:1432)."""

    def script(*_: Untyped) -> Untyped:
        thread = threading.Thread(target=asyncio.run, args=(complete(client()),))
        thread.start()
        thread.join()
        return {"answer": "x"}

    agents = [observe(scripted_agent(script), agent_name=f"n{n}") for n in range(4)]
    threads = [threading.Thread(target=a.run, kwargs={"question": "hi"}) for a in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, recording.operations.trees())) == [
        str((f"invoke_agent n{n}", ["chat gpt-4o"])) for n in range(4)
    ]


def test_the_real_node_and_its_own_thread_keep_the_tree(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """A provider on this machine, which Kaizen's own guard refuses to call: a failed model call."""
    agent = observe(model_agent(llm_provider="ollama", model="llama3"))
    result = agent.run(question="hi")
    assert result["success"] is False
    assert recording.operations.trees() == [("invoke_agent BaseAgent", ["chat llama3"])]
    chat = recording.operations.only("chat")
    assert isinstance(chat.error, InvalidEndpoint)
    assert chat.attributes[semconv.GEN_AI_PROVIDER_NAME] == "ollama"
    assert chat.attributes[semconv.SERVER_ADDRESS] == "localhost"


def test_calls_of_agents_that_never_opted_in_pass_straight_through(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    observe(scripted_agent(lambda *_: {}))
    quiet = model_agent()
    quiet.run(question="hi")
    assert asyncio.run(complete(client()))["text"] == "42"
    assert recording.operations.all == []


def test_a_client_made_in_a_run_that_is_over_passes_straight_through(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    kept: list[Untyped] = []

    def script(*_: Untyped) -> Untyped:
        kept.append(client())
        return {"answer": "x"}

    observe(scripted_agent(script)).run(question="hi")
    assert asyncio.run(complete(kept[0]))["text"] == "42"
    assert recording.operations.trees() == ["invoke_agent ToolAgent"]


def test_model_calls_of_a_tool_are_children_of_the_tool(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    async def search(q: str) -> Untyped:
        return (await complete(client()))["text"] + q

    async def script(agent: Untyped, _: Untyped) -> Untyped:
        return {"answer": (await agent.execute_tool("search", {"q": "!"})).result}

    agent = observe(scripted_agent(script, tools={"search": search}, config=config()))
    assert agent.run(question="hi") == {"answer": "42!"}
    assert recording.operations.trees() == [
        ("invoke_agent ToolAgent", [("execute_tool search", ["chat gpt-4o"])])
    ]


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://localhost:9")
