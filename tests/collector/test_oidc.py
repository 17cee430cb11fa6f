"""The oidc overlays with somebody else's provider, whose people come from a real LDAP server."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.collector.clients import Client, basic, bearer, listening_ports
from tests.collector.identity import kit
from tests.collector.openid import OpenIdProvider, new_key, sign
from tests.collector.otlp_json import bodies_in
from tests.collector.processes import collector
from tests.collector.store import Store, wait_until
from tests.collector.test_secured import intrude

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess
    from tests.collector.identity.kit import Identity

TELEMETRY, AUDIT, ELSEWHERE = "urn:kaizen:otlp", "urn:kaizen:audit", "urn:elsewhere"


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What the provider gives out, and what somebody makes of it."""

    telemetry: Client
    audit: Client
    elsewhere: Client
    """A token for another audience, good there."""
    intruders: Mapping[str, Client]
    """None of them may get anything in on any port."""


@pytest.fixture(scope="module")
def tokens(identity: Identity) -> Tokens:
    def client(token: str) -> Client:
        return Client(authority=identity.authority, headers=bearer(token))

    hasty = [identity.token(f"{resource}:hasty") for resource in (TELEMETRY, AUDIT)]
    telemetry, audit = identity.token(TELEMETRY), identity.token(AUDIT)
    elsewhere = identity.token(ELSEWHERE)
    secret = identity.client_secrets[kit.AGENT_COLLECTOR]
    person = identity.tokens_of("alice")
    forged = {
        "another audience": elsewhere,
        "its audience changed": altered(elsewhere, aud="kaizen-otlp"),
        "its end changed": altered(hasty[0], exp=claims(telemetry)["exp"]),
        "expired, telemetry": hasty[0],
        "expired, audit": hasty[1],
        "another provider, telemetry": identity.token(TELEMETRY, issuer=identity.other_issuer),
        "another provider, audit": identity.token(AUDIT, issuer=identity.other_issuer),
        "another key": sign(claims(telemetry), new_key()),
        "another key, audit": sign(claims(audit), new_key()),
        "unsigned": sign(claims(telemetry), None),
        "without its signature": telemetry.rpartition(".")[0] + ".",
        "no token": "x",
        **{f"a person's {name}": token for name, token in person.items()},
    }
    assert wait_until(lambda: claims(hasty[1])["exp"] <= time.time())
    return Tokens(
        telemetry=client(telemetry),
        audit=client(audit),
        elsewhere=client(elsewhere),
        intruders={
            **{name: client(token) for name, token in forged.items()},
            "nobody": Client(authority=identity.authority),
            "plain, with a token": Client(headers=bearer(telemetry)),
            "the client's own secret": Client(
                authority=identity.authority, headers=basic(f"{kit.AGENT_COLLECTOR}:{secret}")
            ),
        },
    )


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def altered(token: str, **changes: object) -> str:
    """The token with other claims under the signature that it has."""
    head, _, signature = token.split(".")
    text = json.dumps({**claims(token), **changes}).encode()
    return f"{head}.{base64.urlsafe_b64encode(text).rstrip(b'=').decode()}.{signature}"


def secured(
    binary: Path, folder: Path, configs: list[str], identity: Identity, **environment: str
) -> CollectorProcess:
    """A Collector with TLS that knows the provider."""
    return collector(
        binary,
        folder,
        configs,
        KAIZEN_OTEL_TLS_CERT_FILE=str(identity.folder / "server.crt"),
        KAIZEN_OTEL_TLS_KEY_FILE=str(identity.folder / "server.key"),
        KAIZEN_OTEL_OIDC_ISSUER=identity.issuer,
        KAIZEN_OTEL_OIDC_CA_FILE=str(identity.authority),
        **environment,
    )


def agent(
    binary: Path, folder: Path, identity: Identity, gateway: CollectorProcess
) -> CollectorProcess:
    """A Collector beside the agent, which fetches its tokens itself."""
    secret = folder / "client-secret"
    folder.mkdir()
    kit.keep(secret, identity.client_secrets[kit.AGENT_COLLECTOR])
    return collector(
        binary,
        folder,
        ["agent", "upstream-oidc"],
        KAIZEN_OTEL_GATEWAY_ENDPOINT=f"127.0.0.1:{gateway.grpc_port}",
        KAIZEN_OTEL_GATEWAY_AUDIT_ENDPOINT=f"https://127.0.0.1:{gateway.audit_port}",
        KAIZEN_OTEL_GATEWAY_CA_FILE=str(identity.authority),
        KAIZEN_OTEL_GATEWAY_TOKEN_URL=f"{identity.issuer}/token",
        KAIZEN_OTEL_GATEWAY_OIDC_CA_FILE=str(identity.authority),
        KAIZEN_OTEL_GATEWAY_CLIENT_ID=kit.AGENT_COLLECTOR,
        KAIZEN_OTEL_GATEWAY_CLIENT_SECRET_FILE=str(secret),
        KAIZEN_OTEL_GATEWAY_RESOURCE=TELEMETRY,
        KAIZEN_OTEL_GATEWAY_AUDIT_RESOURCE=AUDIT,
        KAIZEN_OTEL_GATEWAY_SCOPE=kit.SCOPE,
        KAIZEN_OTEL_GATEWAY_AUDIT_SCOPE=kit.SCOPE,
    )


def test_the_gateway_takes_the_provider_s_tokens_for_each_audience_and_nothing_else(
    gateway_binary: Path, tmp_path: Path, identity: Identity, tokens: Tokens
) -> None:
    with Store() as store:
        gateway = secured(
            gateway_binary,
            tmp_path,
            ["gateway", "tls", "oidc"],
            identity,
            ELASTICSEARCH_ENDPOINT=store.url,
        )
        with gateway:
            assert gateway.pid is not None
            intrude(tokens.intruders, listening_ports(gateway.pid))
            assert not tokens.telemetry.by_http(gateway.audit_port, "telemetry at audit")
            assert not tokens.audit.by_http(gateway.http_port, "audit at telemetry")
            assert tokens.telemetry.by_http(gateway.http_port, "http")
            assert tokens.telemetry.by_grpc(gateway.grpc_port, "grpc")
            assert tokens.audit.by_http(gateway.audit_port, "audit")
            with agent(gateway_binary, tmp_path / "agent", identity, gateway) as beside:
                assert Client().by_http(beside.http_port, "agent")
                assert Client().by_http(beside.audit_port, "agent audit"), beside.log_tail()
                assert wait_until(lambda: len(store.documents) >= 3), beside.log_tail()
        assert store.texts() == ["agent", "grpc", "http"]
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["audit", "agent audit"]


@pytest.mark.parametrize("audience", ["kaizen-audit", "elsewhere"])
def test_the_audit_collector_alone_takes_tokens_for_its_audience_only(
    gateway_binary: Path, tmp_path: Path, identity: Identity, tokens: Tokens, audience: str
) -> None:
    """With another audience the token that was refused gets in, so it was the audience."""
    right, wrong = tokens.audit, tokens.elsewhere
    intruders = dict(tokens.intruders)
    if audience == "elsewhere":
        right, wrong = wrong, right
        del intruders["another audience"]
    process = secured(
        gateway_binary,
        tmp_path,
        ["audit", "tls", "audit-oidc"],
        identity,
        KAIZEN_OTEL_OIDC_AUDIT_AUDIENCE=audience,
    )
    with process:
        assert process.pid is not None
        intrude(intruders, listening_ports(process.pid))
        assert not wrong.by_http(process.audit_port, "wrong")
        assert not tokens.telemetry.by_http(process.audit_port, "telemetry")
        assert right.by_http(process.audit_port, "right")
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["right"]


def test_without_the_overlay_each_of_them_gets_in(
    gateway_binary: Path, tmp_path: Path, identity: Identity, tokens: Tokens
) -> None:
    """The saboteur of the tests above: nothing else kept them out."""
    encrypted = {name: each for name, each in tokens.intruders.items() if each.authority}
    with secured(gateway_binary, tmp_path, ["audit", "tls"], identity) as process:
        intrude(encrypted, {process.audit_port})
    found = bodies_in(tmp_path / "audit" / "audit.jsonl")
    assert found == [f"http, {name}, {process.audit_port}" for name in encrypted]


def test_a_new_key_of_the_provider_counts_without_a_restart(
    gateway_binary: Path, tmp_path: Path, identity: Identity
) -> None:
    """Keys are fetched again for a signature that none of the known ones made.

    With a provider in memory, whose key can be exchanged.
    """
    with OpenIdProvider("client-secret") as provider:

        def sender() -> Client:
            token = provider.token("kaizen-audit")
            return Client(authority=identity.authority, headers=bearer(token))

        known = replace(identity, issuer=provider.issuer)
        process = secured(gateway_binary, tmp_path, ["audit", "tls", "audit-oidc"], known)
        with process:
            old = sender()
            assert old.by_http(process.audit_port, "before")
            provider.key = new_key()
            assert sender().by_http(process.audit_port, "after")
            assert not old.by_http(process.audit_port, "too late")
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["before", "after"]
