"""The ways by which content comes in: everything that a caller, a tool or a server can say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kaizen_otel.integrations.decorators import traced_agent, traced_tool

if TYPE_CHECKING:
    from kaizen_otel.audit_trail import AuditTrailManager
    from kaizen_otel.observability import ObservabilityManager
    from tests.trail.canaries import Canary

EVENTS = (
    "kaizen.tool.execute", "kaizen.tool.denied", "kaizen.approval.requested",
    "kaizen.approval.decided", "kaizen.model.call", "kaizen.memory.read", "kaizen.memory.write",
    "kaizen.checkpoint.save", "kaizen.agent.start", "kaizen.agent.end", "kaizen.interrupt",
    "kaizen.data.egress", "kaizen.config.change", "callers.own.event",
)  # fmt: skip
ACTIONS = (
    "tool_execute", "permission_grant", "permission_deny", "checkpoint_save",
    "checkpoint_load", "interrupt_triggered", "own_action",
)  # fmt: skip
RESULTS = ("success", "failure", "denied")
_CARD = 4299001734 * 10**9


class Speaking:
    """An object whose texts are the secret."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


class Raising(Mapping[str, object]):
    """A mapping that raises the secret when it is read."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __getitem__(self, key: str) -> object:
        raise KeyError(self.text)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(self.text)

    def __len__(self) -> int:
        return 1


def _share(ways: dict[Any, object], number: int, parts: int) -> dict[Any, object]:
    """Every kind of secret goes by every way, one secret by one of so many parts of them."""
    return dict(list(ways.items())[number // 10 % parts :: parts])


def through_record(
    manager: AuditTrailManager, secret: Canary, number: int, *, parts: int = 3
) -> None:
    """``record()``: details, metadata, user and action, in every form that a value can have."""
    text, data = secret.text, secret.data
    details: dict[Any, object] = {
        "note": text, text: "a key", data: 1, "nested": {"k": [text, {"deep": (text, data)}]},
        "bytes": data, "array": bytearray(data), "set": {text}, "object": Speaking(text),
        "huge": text * (5_000 if number < 10 else 3), "error": ValueError(text),
        f"x.{text}": {text: text}, "view": memoryview(data), "number": _CARD + number,
        "tool_name": {"name": text}, "status": [text], "model": f"{text} {text}",
    }  # fmt: skip
    metadata: dict[Any, object] = {
        "free": text, "more": [data, {text: text}], text: text, "model": Speaking(text),
    }  # fmt: skip
    manager.record(
        "qa",
        ACTIONS[number % len(ACTIONS)] if number % 3 else text,
        _share(details, number, parts),
        RESULTS[number % 3],  # type: ignore[arg-type]
        user_id=text,
        metadata=_share(metadata, number, parts),
    )


def through_emit(
    manager: AuditTrailManager, secret: Canary, number: int, *, parts: int = 3
) -> None:
    """``emit()``: known, unknown, nested, huge attributes, and names that are the secret."""
    text, data = secret.text, secret.data
    attributes: dict[Any, object] = {
        "gen_ai.tool.call.arguments": {"q": text, "n": [text, data]},
        "gen_ai.tool.call.result": text, "gen_ai.input.messages": [{"content": text}],
        "gen_ai.output.messages": json.dumps(text), "gen_ai.system_instructions": text,
        "gen_ai.prompt.0.content": text, "gen_ai.completion.0.content": text,
        "gen_ai.memory.records": [text, text], "gen_ai.not.known.yet": text,
        "kaizen.note": text, "kaizen.details.note": text, "kaizen.hmac.note": text,
        "kaizen.enc.note": text, "kaizen.bytes.note": text, "kaizen.audit.note": text,
        "audit.note": text, "audit.sequence.number": text, "audit.integrity.value": text,
        "mcp.note": text, "server.note": text, "service.note": text, "network.note": text,
        "exception.message": text, "exception.stacktrace": f"Traceback\n{text}",
        "error.type": text, "error.message": text, "http.request.header.authorization": text,
        "url.full": f"https://h/?q={quote(text)}", "db.query.text": text, "user.email": text,
        "user.name": text, "enduser.id": text, "list": [text], "kaizen.list": [text, text],
        "nested": {"a": {"b": {"c": text}}}, "bytes": data, text: text, f"kaizen.{text}": 1,
        "kaizen.number": _CARD + number, "object": Speaking(text), "audit.target.id": text,
        "kaizen.object": Speaking(text), "audit.outcome": text, "audit.action": text,
    }  # fmt: skip
    manager.emit(EVENTS[number % len(EVENTS)], _share(attributes, number, parts))
    user = {"audit.actor.id": text, "audit.actor.type": "user"}
    manager.emit(text, {**user, "kaizen.audit.gap.reason": text})
    if number % 10 == 0:
        user["audit.actor.id"] = f"hmac-sha256:{text}"
        manager.emit("e", {**user, **{f"k{n}": text for n in range(200)}})
        manager.emit("e", {f"{text}{n}": text for n in range(130)})


def through_errors(manager: AuditTrailManager, secret: Canary) -> list[str]:
    """What fails with the secret in its hands; returns what the caller is told."""
    text = secret.text
    receipts = [
        manager.emit("e", Raising(text)),
        manager.emit("e", {"gen_ai.agent.id": "a"}, resource=text),  # type: ignore[arg-type]
        manager.record("qa", "a", {"kaizen.x": Raising(text)}, "success"),
        manager.record("qa", "a", Raising(text), "success"),
        manager.record("qa", "a", {}, "success", metadata=Raising(text)),
    ]
    for receipt in receipts:
        receipt.wait(10)
    return [receipt.reason for receipt in receipts]


def through_decorators(manager: ObservabilityManager, secret: Canary) -> None:
    """Arguments, results and exceptions of functions, coroutines and generators."""
    text = secret.text

    @traced_tool(manager=manager)
    def look_up(query: str, *, more: object) -> object:
        return {"rows": [query, more]}

    @traced_tool(manager=manager)
    def break_down(query: str) -> None:
        raise ValueError(query)

    @traced_tool(manager=manager)
    def stream(query: str) -> Iterator[str]:
        yield query
        raise KeyError(query)

    @traced_agent(manager=manager)
    async def answer(question: str) -> str:
        look_up(question, more={question: [question]})
        with contextlib.suppress(ValueError):
            break_down(question)
        with contextlib.suppress(KeyError):
            list(stream(question))
        if len(question) % 2:
            raise RuntimeError(question) from ValueError(question)
        return question

    with contextlib.suppress(RuntimeError):
        asyncio.run(answer(text))


def through_operations(manager: ObservabilityManager, secret: Canary, number: int) -> None:
    """The seam that all integrations call, with everything the conventions call content."""
    text, operations = secret.text, manager.operations
    content = {
        "gen_ai.tool.call.arguments": text, "gen_ai.input.messages": [text],
        "gen_ai.memory.query.text": text, "gen_ai.memory.records": [{"x": text}],
    }  # fmt: skip
    kinds = ("chat", "execute_tool", "search_memory", "upsert_memory", "kaizen.checkpoint.save")
    kind = kinds[number % len(kinds)]
    operations.begin(kind, number, name="shop", attributes=content)
    results = {"gen_ai.output.messages": text, "gen_ai.tool.call.result": text}
    errors: tuple[BaseException | str | None, ...] = (None, ValueError(text), text)
    operations.end(number, results, error=errors[number % 3])
    operations.event("kaizen.approval.decided", content, audit=True, error=ValueError(text))


def through_telemetry(manager: ObservabilityManager, secret: Canary) -> None:
    """What a caller says on purpose: only what is known to be a secret is taken out of it."""
    text = secret.text
    assert manager.tracing is not None
    assert manager.logging is not None
    secrets = {"api_key": text, "user.password": text, "deep": {"token": [text]}}
    span = manager.tracing.start_span("own", attributes=secrets)
    span.set_attributes(secrets)
    span.add_event("own", secrets)
    span.end()
    assert manager.metrics is not None
    manager.metrics.counter("own.count", 1, {"api_key": text, "session.token": text})
    manager.metrics.histogram("own.size", 1, {"password": text})
    logger = logging.getLogger("callers.own")
    handler = manager.logging.handler()
    logger.addHandler(handler)
    quiet = json.dumps(text)
    try:
        logger.warning("password=%s", quiet, extra={"authorization": text})
        logger.error("refused: %s", f"https://u:{quote(text)}@h/")
    finally:
        logger.removeHandler(handler)
