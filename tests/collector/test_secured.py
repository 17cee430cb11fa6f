"""The secured overlays: who has the right credentials gets in, nobody else, on no port."""

from __future__ import annotations

import hashlib
import socket
import ssl
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._collector.certs import LOCAL_HOSTS, Authority
from kaizen_otel._edges import OsFilesystem, SystemClock
from tests.collector.clients import Client, basic, bearer, listening_ports
from tests.collector.openid import CLIENT_ID, OpenIdProvider, new_key, sign
from tests.collector.otlp_json import bodies_in
from tests.collector.processes import collector
from tests.collector.store import Store, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess

# bcrypt, cost 5.
TELEMETRY_USER = "agent:$2a$05$0BruHtSznRyJtnOEA2t.i.MeCJz/.ZEPsptPcdP50XYpVQSoiznNi\n"
AUDIT_USER = "auditor:$2a$05$Ov2JWStE2bJ1c.DbEnMmSOEW4RwsnPs1su9/ocIJmssp66jUmSJ3K\n"
TELEMETRY_BASIC = "agent:telemetry-password"
AUDIT_BASIC = "auditor:audit-password"


@dataclass(frozen=True)
class Scheme:
    """One way to close a gateway, who may come in, and who tries."""

    overlays: tuple[str, ...]
    telemetry: Client
    audit: Client
    intruders: Mapping[str, Client]
    """None of them may get anything in on any port."""
    upstream: tuple[str, ...]
    """Overlays of an agent Collector that knows the credentials."""
    gateway_environment: Mapping[str, str] = field(default_factory=dict[str, str])
    agent_environment: Mapping[str, str] = field(default_factory=dict[str, str])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our authority (ca), the auditors' (audit/ca) and a stranger's (stranger/ca)."""
    folder = tmp_path_factory.mktemp("tls")
    ours = authority_in(folder)
    ours.issue("server", "server", hosts=LOCAL_HOSTS)
    ours.issue("agent", "client")
    for name in ("audit", "stranger"):
        authority_in(folder / name).issue("client", "client")
    return folder


def authority_in(folder: Path) -> Authority:
    return Authority.make(folder, filesystem=OsFilesystem(), clock=SystemClock())


def plain(folder: Path) -> dict[str, Client]:
    """Who has no credentials at all: without TLS, and with it."""
    return {"plain": Client(), "nobody": Client(authority=folder / "ca.crt")}


def bearer_scheme(folder: Path, secrets: Path) -> Scheme:
    authority = folder / "ca.crt"
    (secrets / "telemetry").write_text("\ntelemetry-token a remark\nsecond-token\n")
    (secrets / "audit").write_text("audit-token\n")
    (secrets / "gateway").write_text("telemetry-token\n")
    wrong = ("telemetry", "telemetry-token a remark", "a", "", "TELEMETRY-TOKEN")
    return Scheme(
        overlays=("tls", "bearer"),
        telemetry=Client(authority=authority, headers=bearer("second-token")),
        audit=Client(authority=authority, headers=bearer("audit-token")),
        intruders={
            **plain(folder),
            **{token: Client(authority=authority, headers=bearer(token)) for token in wrong},
            "plain with a token": Client(headers=bearer("telemetry-token")),
            "basic": Client(authority=authority, headers=basic("telemetry-token:")),
        },
        upstream=("upstream-bearer",),
        gateway_environment={
            "KAIZEN_OTEL_TOKENS_FILE": str(secrets / "telemetry"),
            "KAIZEN_OTEL_AUDIT_TOKENS_FILE": str(secrets / "audit"),
        },
        agent_environment={
            "KAIZEN_OTEL_GATEWAY_TOKEN_FILE": str(secrets / "gateway"),
            "KAIZEN_OTEL_GATEWAY_AUDIT_TOKEN_FILE": str(secrets / "audit"),
        },
    )


def basic_scheme(folder: Path, secrets: Path) -> Scheme:
    authority = folder / "ca.crt"
    (secrets / "telemetry").write_text(TELEMETRY_USER)
    (secrets / "audit").write_text(AUDIT_USER)
    wrong = ("agent:wrong", "agent:", "nobody:telemetry-password", ":", TELEMETRY_USER.strip())
    return Scheme(
        overlays=("tls", "basic"),
        telemetry=Client(authority=authority, headers=basic(TELEMETRY_BASIC)),
        audit=Client(authority=authority, headers=basic(AUDIT_BASIC)),
        intruders={
            **plain(folder),
            **{text: Client(authority=authority, headers=basic(text)) for text in wrong},
            "plain with a password": Client(headers=basic(TELEMETRY_BASIC)),
            "bearer": Client(authority=authority, headers=bearer(TELEMETRY_BASIC)),
        },
        upstream=("upstream-basic",),
        gateway_environment={
            "KAIZEN_OTEL_HTPASSWD_FILE": str(secrets / "telemetry"),
            "KAIZEN_OTEL_AUDIT_HTPASSWD_FILE": str(secrets / "audit"),
        },
        agent_environment={
            "KAIZEN_OTEL_GATEWAY_BASIC": basic(TELEMETRY_BASIC)["Authorization"].split()[1],
            "KAIZEN_OTEL_GATEWAY_AUDIT_BASIC": basic(AUDIT_BASIC)["Authorization"].split()[1],
        },
    )


def mtls_scheme(folder: Path, _: Path) -> Scheme:
    authority = folder / "ca.crt"
    ours = Client(authority=authority, certificate=folder / "agent.crt")
    stranger = Client(authority=authority, certificate=folder / "stranger" / "client.crt")
    return Scheme(
        overlays=("tls", "mtls"),
        telemetry=ours,
        audit=ours,
        intruders={
            **plain(folder),
            "stranger": stranger,
            "another authority of ours": Client(
                authority=authority, certificate=folder / "audit" / "client.crt"
            ),
            "the server itself": Client(authority=authority, certificate=folder / "server.crt"),
        },
        upstream=(),
        gateway_environment={
            "KAIZEN_OTEL_TLS_CLIENT_CA_FILE": str(authority),
            "KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE": str(authority),
        },
        agent_environment={
            "KAIZEN_OTEL_GATEWAY_CERT_FILE": str(folder / "agent.crt"),
            "KAIZEN_OTEL_GATEWAY_KEY_FILE": str(folder / "agent.key"),
        },
    )


def oidc_scheme(folder: Path, secrets: Path, provider: OpenIdProvider) -> Scheme:
    authority = folder / "ca.crt"
    (secrets / "client").write_text(provider.secret)
    good = provider.claims("kaizen-otlp")
    tokens = {
        "another audience": provider.token("elsewhere"),
        "expired": provider.token("kaizen-otlp", exp=good["iat"] - 60),
        "another issuer": provider.token("kaizen-otlp", iss="http://127.0.0.1:1"),
        "another key": sign(good, new_key()),
        "unsigned": sign(good, None),
        "no token": "x",
    }
    return Scheme(
        overlays=("tls", "oidc"),
        telemetry=Client(authority=authority, headers=bearer(provider.token("kaizen-otlp"))),
        audit=Client(authority=authority, headers=bearer(provider.token("kaizen-audit"))),
        intruders={
            **plain(folder),
            **{
                name: Client(authority=authority, headers=bearer(token))
                for name, token in tokens.items()
            },
        },
        upstream=("upstream-oidc",),
        gateway_environment={"KAIZEN_OTEL_OIDC_ISSUER": provider.issuer},
        agent_environment={
            "KAIZEN_OTEL_GATEWAY_TOKEN_URL": f"{provider.issuer}/token",
            "KAIZEN_OTEL_GATEWAY_CLIENT_ID": CLIENT_ID,
            "KAIZEN_OTEL_GATEWAY_CLIENT_SECRET_FILE": str(secrets / "client"),
        },
    )


@pytest.fixture(params=["bearer", "basic", "mtls", "oidc"])
def scheme(request: pytest.FixtureRequest, certificates: Path, tmp_path: Path) -> Iterator[Scheme]:
    makers: dict[str, Callable[[Path, Path], Scheme]] = {
        "bearer": bearer_scheme,
        "basic": basic_scheme,
        "mtls": mtls_scheme,
    }
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    with ExitStack() as stack:
        if request.param == "oidc":
            provider = stack.enter_context(OpenIdProvider("client-secret"))
            yield oidc_scheme(certificates, secrets, provider)
        else:
            yield makers[request.param](certificates, secrets)


def server(certificates: Path) -> dict[str, str]:
    return {
        "KAIZEN_OTEL_TLS_CERT_FILE": str(certificates / "server.crt"),
        "KAIZEN_OTEL_TLS_KEY_FILE": str(certificates / "server.key"),
    }


def intrude(intruders: Mapping[str, Client], ports: set[int]) -> None:
    """Every intruder tries every port by both protocols."""
    for name, intruder in intruders.items():
        for port in ports:
            intruder.by_http(port, f"http, {name}, {port}")
            intruder.by_grpc(port, f"grpc, {name}, {port}")


def test_only_the_right_credentials_get_anything_in_on_any_port(
    gateway_binary: Path, certificates: Path, tmp_path: Path, scheme: Scheme
) -> None:
    with Store() as store:
        gateway = collector(
            gateway_binary,
            tmp_path,
            ["gateway", *scheme.overlays],
            ELASTICSEARCH_ENDPOINT=store.url,
            **server(certificates),
            **scheme.gateway_environment,
        )
        with gateway:
            assert gateway.pid is not None
            ports = listening_ports(gateway.pid)
            assert ports == {
                gateway.grpc_port,
                gateway.http_port,
                gateway.audit_port,
                gateway.health_port,
                gateway.metrics_port,
            }
            intrude(scheme.intruders, ports)
            if scheme.telemetry != scheme.audit:  # the right credentials at the wrong door
                assert not scheme.telemetry.by_http(gateway.audit_port, "telemetry at audit")
                assert not scheme.audit.by_http(gateway.http_port, "audit at telemetry")
                assert not scheme.audit.by_grpc(gateway.grpc_port, "audit at telemetry")
            assert scheme.telemetry.by_http(gateway.http_port, "http")
            assert scheme.telemetry.by_grpc(gateway.grpc_port, "grpc")
            assert scheme.audit.by_http(gateway.audit_port, "audit")
            through_an_agent(gateway_binary, certificates, tmp_path / "agent", scheme, gateway)
            assert wait_until(lambda: len(store.documents) >= 4), gateway.log_tail()
        assert store.texts() == ["agent grpc", "agent http", "grpc", "http"]
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["audit", "agent audit"]


def through_an_agent(
    binary: Path, certificates: Path, folder: Path, scheme: Scheme, gateway: CollectorProcess
) -> None:
    """The same through a Collector beside the agent that has the credentials."""
    agent = collector(
        binary,
        folder,
        ["agent", *scheme.upstream],
        KAIZEN_OTEL_GATEWAY_ENDPOINT=f"127.0.0.1:{gateway.grpc_port}",
        KAIZEN_OTEL_GATEWAY_AUDIT_ENDPOINT=f"https://127.0.0.1:{gateway.audit_port}",
        KAIZEN_OTEL_GATEWAY_CA_FILE=str(certificates / "ca.crt"),
        **scheme.agent_environment,
    )
    with agent:
        assert Client().by_http(agent.http_port, "agent http")
        assert Client().by_grpc(agent.grpc_port, "agent grpc")
        assert Client().by_http(agent.audit_port, "agent audit"), agent.log_tail()


@pytest.mark.parametrize("overlay", ["audit-bearer", "audit-basic", "mtls"])
def test_the_audit_collector_alone_is_closed_the_same_way(
    gateway_binary: Path, certificates: Path, tmp_path: Path, overlay: str
) -> None:
    (tmp_path / "tokens").write_text("audit-token\n")
    (tmp_path / "users").write_text(AUDIT_USER)
    authority = certificates / "ca.crt"
    right = {
        "audit-bearer": Client(authority=authority, headers=bearer("audit-token")),
        "audit-basic": Client(authority=authority, headers=basic(AUDIT_BASIC)),
        "mtls": Client(authority=authority, certificate=certificates / "audit" / "client.crt"),
    }
    process = collector(
        gateway_binary,
        tmp_path,
        ["audit", "tls", overlay],
        KAIZEN_OTEL_AUDIT_TOKENS_FILE=str(tmp_path / "tokens"),
        KAIZEN_OTEL_AUDIT_HTPASSWD_FILE=str(tmp_path / "users"),
        KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE=str(certificates / "audit" / "ca.crt"),
        KAIZEN_OTEL_TLS_CLIENT_CA_FILE=str(authority),
        **server(certificates),
    )
    with process:
        assert process.pid is not None
        ports = listening_ports(process.pid)
        assert ports == {process.audit_port, process.health_port, process.metrics_port}
        others = {name: client for name, client in right.items() if name != overlay}
        ours = {"agent": Client(authority=authority, certificate=certificates / "agent.crt")}
        intrude({**plain(certificates), **others, **ours}, ports)
        assert right[overlay].by_http(process.audit_port, "audit")
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["audit"]


def test_without_the_overlay_the_intruders_do_get_in(
    gateway_binary: Path, certificates: Path, tmp_path: Path
) -> None:
    """The saboteur of the tests above: they see what came in."""
    with collector(gateway_binary, tmp_path, ["audit", "tls"], **server(certificates)) as process:
        intrude(plain(certificates), {process.audit_port})
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == [f"http, nobody, {process.audit_port}"]


def test_a_new_token_counts_without_a_restart(
    gateway_binary: Path, certificates: Path, tmp_path: Path
) -> None:
    """Tokens are read again when the file changes; see the extension's tests for passwords."""
    tokens = tmp_path / "tokens"
    tokens.write_text("old\n")
    process = collector(
        gateway_binary,
        tmp_path,
        ["audit", "tls", "audit-bearer"],
        KAIZEN_OTEL_AUDIT_TOKENS_FILE=str(tokens),
        **server(certificates),
    )
    authority = certificates / "ca.crt"
    old, new = (Client(authority=authority, headers=bearer(token)) for token in ("old", "new"))
    with process:
        assert old.by_http(process.audit_port, "before")
        tokens.write_text("new\n")
        assert wait_until(lambda: new.by_http(process.audit_port, "after"), seconds=20)
        assert not old.by_http(process.audit_port, "too late")
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["before", "after"]


def test_renewed_certificates_count_without_a_restart(gateway_binary: Path, tmp_path: Path) -> None:
    """The shipped interval is a minute; here it is shorter."""
    soon = tmp_path / "soon.yaml"
    soon.write_text(
        "receivers: {otlp/audit: {protocols: {http: {tls: {reload_interval: 100ms}}}}}\n"
    )
    authority = authority_in(tmp_path / "tls")
    authority.issue("server", "server", hosts=LOCAL_HOSTS)
    authority.issue("client", "client")
    others = authority_in(tmp_path / "others")
    others.issue("client", "client")
    ca = tmp_path / "tls" / "ca.crt"
    client_ca = tmp_path / "client-ca.crt"
    client_ca.write_bytes(ca.read_bytes())
    before = Client(authority=ca, certificate=tmp_path / "tls" / "client.crt")
    after = Client(authority=ca, certificate=tmp_path / "others" / "client.crt")
    process = collector(
        gateway_binary,
        tmp_path,
        ["audit", "tls", "mtls", soon],
        KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE=str(client_ca),
        KAIZEN_OTEL_TLS_CLIENT_CA_FILE=str(ca),
        **server(tmp_path / "tls"),
    )

    def shown() -> str:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(before.certificate or ca, tmp_path / "tls" / "client.key")
        with (
            socket.create_connection(("127.0.0.1", process.audit_port), timeout=10) as plain_socket,
            context.wrap_socket(plain_socket, server_hostname="localhost") as connection,
        ):
            certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        return hashlib.sha256(certificate).hexdigest()

    with process:
        first = shown()
        assert before.by_http(process.audit_port, "before")
        authority.renew("server")
        assert wait_until(lambda: shown() != first, seconds=20)
        client_ca.write_bytes((tmp_path / "others" / "ca.crt").read_bytes())
        assert wait_until(lambda: after.by_http(process.audit_port, "after"), seconds=20)
        assert not before.by_http(process.audit_port, "too late")
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["before", "after"]
