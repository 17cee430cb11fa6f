"""Content and identities sent in by every way come out by none: a thousand secrets are looked for.

What the caller declares public stays: names of tools, models and agents, and the values of
``audit.PUBLIC_DETAILS``.  Everything else is content.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import logging
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._pipeline import Pipeline
from kaizen_otel.audit import _templates
from kaizen_otel.config import Config
from kaizen_otel.integrations import kaizen
from kaizen_otel.observability import ObservabilityManager
from tests.kaizen.agents import model_agent, tool_agent
from tests.kaizen.test_tools import ASK, UNSAFE, Approver, mcp_agent
from tests.trail import canary_ways as ways
from tests.trail.canaries import COUNT, MARKS, Canary, canaries, search
from tests.trail.canary_house import House, Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kaizen.agents import Untyped


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Make houses with settings; closed at the end."""
    made: list[House] = []

    def one(**environment: str) -> House:
        made.append(House(tmp_path, **environment))
        return made[-1]

    yield one
    for house in made:
        house.close()


@pytest.mark.parametrize(
    ("count", "settings"),
    [
        (COUNT, {}),
        (150, {"KAIZEN_OTEL_AUDIT_CONTENT": "encrypted", "KAIZEN_OTEL_SUBJECT_KEYS": ""}),
    ],
    ids=["hmac", "encrypted"],
)
def test_no_way_into_the_audit_trail_leads_a_secret_out(
    count: int, settings: dict[str, str], tmp_path: Path, make: Callable[..., House]
) -> None:
    if settings:
        settings = {**settings, "KAIZEN_OTEL_SUBJECT_KEYS": str(tmp_path / "subjects")}
    house = make(**settings)
    for number, secret in enumerate(canaries(1, count)):
        ways.through_record(house.manager, secret, number)
        ways.through_emit(house.manager, secret, number)
        if number % 20 == 0:
            house.texts += ways.through_errors(house.manager, secret)
    assert house.manager.shutdown(60_000)
    assert house.manager.status().delivered > 3 * count
    assert house.leaks() == {}


def test_saboteur_without_protection_every_kind_is_found_in_every_place(
    make: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_templates, "protect", lambda attributes, *_: dict(attributes))
    house = make()
    secrets = canaries(1, 20)
    for secret in secrets:
        house.manager.emit("e", {"note": secret.text})
    assert house.manager.shutdown(30_000)
    leaks = house.leaks()
    assert any(path.endswith(".segment") for path in leaks)
    assert any(where.endswith("as JSON") for where in leaks)
    kinds = {what.split()[0] for found in leaks.values() for what in found}
    assert kinds == set(MARKS)


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[Observed]:
    made = Observed(tmp_path)
    yield made
    made.close()


def test_what_tools_models_and_memories_say_is_in_no_signal(observed: Observed) -> None:
    for number, secret in enumerate(canaries(2, 300)):
        ways.through_operations(observed.observability, secret, number)
        if number < 50:
            ways.through_decorators(observed.observability, secret)
    assert observed.leaks() == {}


def _agents(secret: Canary) -> list[tuple[Untyped, dict[str, str]]]:
    def boom(q: str) -> None:
        raise RuntimeError(q + secret.text)

    inputs = {"question": secret.text, "session_id": "s1"}
    return [
        (tool_agent(tools={"search": lambda q: {"rows": secret.text, "q": q}}), inputs),
        (tool_agent(tools={"search": boom}), inputs),
        (model_agent(), {"question": secret.text}),
    ]


def test_a_kaizen_agent_with_memory_and_a_model_gives_nothing_away(
    observed: Observed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kaizen itself prints what it does; that is not ours, and is not looked at."""
    for number, secret in enumerate(canaries(3, 12)):
        agent, inputs = _agents(secret)[number % 3]
        kaizen.enable_observability(agent, pipeline=observed.pipeline)
        # Some of them fail, with the secret in their exception.
        with contextlib.suppress(Exception):
            agent.run(**inputs)
        kaizen.disable_observability(agent)
    capsys.readouterr()
    assert observed.leaks() == {}


def test_a_kaizen_agents_permissions_and_approvals_give_nothing_away(observed: Observed) -> None:
    """Allowed, denied by policy, refused by a human, and an approval that fails with the secret."""
    for number, secret in enumerate(canaries(7, 40)):
        agent = mcp_agent(permission_rules=[ASK])
        answers = (True, False, PermissionError(secret.text), TimeoutError(secret.text))
        agent.approval_manager = Approver(answers[number // 10])
        kaizen.enable_observability(agent, pipeline=observed.pipeline)
        # Refusals are exceptions to the caller, with the secret in them.
        with contextlib.suppress(Exception):
            asyncio.run(agent.execute_tool(UNSAFE, {"command": secret.text, secret.text: 1}))
        kaizen.disable_observability(agent)
    assert observed.leaks() == {}


def test_known_secrets_are_taken_out_of_what_callers_send_on_purpose(observed: Observed) -> None:
    """Texts of spans and logs are the caller's word; the net is for what looks like a secret."""
    for secret in canaries(4, 100):
        ways.through_telemetry(observed.observability, secret)
    assert observed.leaks() == {}


def test_what_a_server_says_comes_into_no_record(make: Callable[..., House]) -> None:
    """Its words may quote a header with credentials.  The operator's warning may, the trail not."""
    house = make()
    secret = canaries(5, 1)[0].text
    house.transport.after = lambda signal, body: (
        Rejected(reason="bad_request", message=f"no {secret}")
        if b"refuse.this" in body
        else Delivered()
    )
    house.transport._script = [Retryable(reason="unreachable", message=secret)]
    for number in range(4):
        house.manager.emit("refuse.this" if number % 2 else "good.event", {"n": number})
    house.manager.flush(10_000)
    assert house.manager.status().quarantined == 2
    house.manager.shutdown(10_000)
    stored = {where: found for where, found in house.leaks().items() if where != "warnings"}
    assert stored == {}


def test_credentials_in_settings_are_in_no_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "Zx8canaryPWD"
    environment = {
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {secret}",
        "KAIZEN_OTEL_AUDIT_ENDPOINT": f"http://user:{secret}@127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{secret}@127.0.0.1:9",
        "KAIZEN_OTEL_SPOOL_DIR": str(tmp_path / "spool"),
        "KAIZEN_OTEL_SUBJECT_MASTER_KEY": secret,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "200",
    }
    caplog.set_level(logging.DEBUG, "kaizen_otel")
    pipeline = Pipeline(Config.from_environment(environment))
    manager = ObservabilityManager("shop", pipeline=pipeline)
    manager.operations.begin("execute_tool", 1, name="t")
    manager.operations.end(1)
    assert manager.audit is not None
    pipeline.flush(1_500)
    texts = [caplog.text, repr(manager.audit.status()), repr(pipeline.ledger.snapshot())]
    pipeline.shutdown(500)
    assert search("\n".join([*texts, caplog.text]).encode()) == set()


@pytest.mark.parametrize("kind", MARKS)
def test_the_search_sees_through_every_disguise(kind: str) -> None:
    secret = next(c for c in canaries(6, 20) if c.kind == kind)
    for shift in range(3):
        data = bytes(shift) + secret.data + b"after"
        for disguised in (
            data,
            data.lower(),
            data.hex().encode(),
            data.hex().upper().encode(),
            base64.b64encode(data),
            base64.urlsafe_b64encode(data),
            quote(secret.text).encode(),
            json.dumps(secret.text).encode(),
            repr(data).encode(),
            b"head" + gzip.compress(data),
            b"head" + zlib.compress(base64.b64encode(data)),
            gzip.compress(gzip.compress(data)),
        ):
            assert {what.split()[0] for what in search(disguised)} == {kind}
    assert search(b"nothing of the kind" * 100) == set()
