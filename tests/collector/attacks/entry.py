"""Who tries to get in: credentials, certificates, TLS."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import warnings
from functools import partial
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization

from tests.collector.attacks.ask import (
    CLOSED,
    PROTOBUF,
    call,
    channel,
    exchange,
    handshake,
    http,
    protobuf,
    rpc,
)
from tests.collector.attacks.attack import REFUSED, Attack, at
from tests.collector.attacks.target import (
    AUDIT_BASIC,
    AUDIT_TOKEN,
    AUDIT_USER,
    OTLP_HTTP,
    RECEIVERS,
    TELEMETRY_BASIC,
    TELEMETRY_TOKEN,
    TELEMETRY_USER,
)
from tests.collector.clients import Client, basic, bearer
from tests.collector.openid import new_key, sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.collector.attacks.target import Door, Target

Headers = dict[str, str]


def send(target: Target, door: Door, headers: Headers) -> str:
    """A good record with these headers."""
    if door == "gRPC":
        return rpc(target, headers=headers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return http(target, door, credentials=lines)


def token_of(door: Door) -> str:
    return AUDIT_TOKEN if door == "audit" else TELEMETRY_TOKEN


def password_of(door: Door) -> str:
    return AUDIT_BASIC if door == "audit" else TELEMETRY_BASIC


def with_headers(make: Callable[[Door], Headers]) -> Callable[[Target, Door], str]:
    return lambda target, door: send(target, door, make(door))


def authorization(text: str) -> Headers:
    return {"Authorization": text}


def in_the_query(target: Target, door: Door) -> str:
    path = f"/v1/logs?access_token={token_of(door)}&authorization=Bearer%20{token_of(door)}"
    return http(target, door, credentials="", path=path)


def in_a_trailer(target: Target, door: Door) -> str:
    head = (
        "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nTrailer: Authorization\r\n"
        f"Content-Type: {PROTOBUF}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    size = f"{len(protobuf()):x}\r\n".encode()
    end = f"\r\n0\r\nAuthorization: Bearer {token_of(door)}\r\n\r\n".encode()
    data = head.encode() + size + protobuf() + end
    return exchange(target.number(door), data, target.tls(door)).status


def wrong_before_right(target: Target, door: Door) -> str:
    wrong, right = "Bearer wrong", f"Bearer {token_of(door)}"
    if door == "gRPC":
        with channel(target, target.clients["gRPC"]) as opened:
            pairs = [("authorization", wrong), ("authorization", right)]
            return call(opened, headers={}, extra=pairs)
    lines = f"Authorization: {wrong}\r\nAuthorization: {right}\r\n"
    return http(target, door, credentials=lines)


def other_port(door: Door) -> Headers:
    return bearer(TELEMETRY_TOKEN if door == "audit" else AUDIT_TOKEN)


BEARER: Final = (
    Attack("no credentials", REFUSED, with_headers(lambda _: {})),
    Attack("a wrong token", REFUSED, with_headers(lambda _: bearer("guessed"))),
    Attack("an empty token", REFUSED, with_headers(lambda _: authorization("Bearer "))),
    Attack(
        "the beginning of a right token",
        REFUSED,
        with_headers(lambda door: bearer(token_of(door)[:-1])),
    ),
    Attack(
        "a right token and something behind it",
        REFUSED,
        with_headers(lambda door: bearer(token_of(door) + "x")),
    ),
    Attack(
        "the whole line of the token file, with its remark",
        REFUSED,
        with_headers(lambda door: bearer(token_of(door) + " a remark")),
    ),
    Attack(
        "the token of telemetry at audit, and of audit at telemetry",
        REFUSED,
        with_headers(other_port),
    ),
    Attack(
        "a right token without `Bearer`",
        REFUSED,
        with_headers(lambda door: authorization(token_of(door))),
    ),
    Attack(
        "a right token by `bearer` in small letters",
        REFUSED,
        with_headers(lambda door: authorization(f"bearer {token_of(door)}")),
    ),
    Attack(
        "a right token in another header (X-Api-Key, Proxy-Authorization, Cookie)",
        REFUSED,
        with_headers(
            lambda door: {
                "X-Api-Key": token_of(door),
                "Proxy-Authorization": f"Bearer {token_of(door)}",
                "Cookie": f"authorization=Bearer {token_of(door)}",
            }
        ),
    ),
    Attack("a right token in the query", at(OTLP_HTTP, "401"), in_the_query),
    Attack("a right token in a trailer", at(OTLP_HTTP, "401"), in_a_trailer),
    Attack("a wrong token before a right one", REFUSED, wrong_before_right),
    Attack(
        "a right token as name and password of basic authentication",
        REFUSED,
        with_headers(lambda door: basic(f"{token_of(door)}:{token_of(door)}")),
    ),
)


def user_and(password: str) -> Callable[[Door], Headers]:
    return lambda door: basic(f"{password_of(door).partition(':')[0]}:{password}")


def other_user(door: Door) -> Headers:
    return basic(TELEMETRY_BASIC if door == "audit" else AUDIT_BASIC)


def hash_as_password(door: Door) -> Headers:
    return basic(AUDIT_USER if door == "audit" else TELEMETRY_USER)


BASIC: Final = tuple(
    Attack(name, REFUSED, with_headers(make), gateway="basic")
    for name, make in (
        ("no name and password", lambda _: {}),
        ("a wrong password", user_and("wrong")),
        ("an empty password", user_and("")),
        ("a password of 100 bytes (bcrypt reads 72)", user_and("p" * 100)),
        ("a name of the other htpasswd file", other_user),
        ("the hash of the htpasswd file as password", hash_as_password),
        ("an unknown name", lambda _: basic("nobody:telemetry-password")),
        (
            "name and password not in base64",
            lambda door: authorization(f"Basic {password_of(door)}"),
        ),
        ("base64 of a name without a colon", lambda _: basic("agent")),
        ("name and password by `Bearer`", lambda door: bearer(password_of(door))),
    )
)


def claims(target: Target, door: Door, **changes: object) -> dict[str, object]:
    assert target.provider is not None
    audience = "kaizen-audit" if door == "audit" else "kaizen-otlp"
    return dict(target.provider.claims(audience, **changes))


def by_hmac(target: Target, door: Door) -> str:
    """A token that is signed with the provider's public key as if it were a shared secret."""
    assert target.provider is not None
    key = target.provider.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    parts = ({"alg": "HS256", "kid": "test", "typ": "JWT"}, claims(target, door))
    text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_base64(hmac.new(key, text.encode(), hashlib.sha256).digest())}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def edited(target: Target, door: Door) -> str:
    """A right token whose claims were exchanged behind the signature."""
    assert target.provider is not None
    head, _, signature = sign(claims(target, door), target.provider.key).split(".")
    return f"{head}.{_base64(json.dumps(claims(target, door, sub='root')).encode())}.{signature}"


def token_by(make: Callable[[Target, Door], str]) -> Callable[[Target, Door], str]:
    return lambda target, door: send(target, door, bearer(make(target, door)))


def changed(**changes: object) -> Callable[[Target, Door], str]:
    def token(target: Target, door: Door) -> str:
        assert target.provider is not None
        return sign(claims(target, door, **changes), target.provider.key)

    return token


def other_audience(target: Target, door: Door) -> str:
    return changed(aud="kaizen-otlp" if door == "audit" else "kaizen-audit")(target, door)


OIDC: Final = tuple(
    Attack(name, REFUSED, token_by(make), gateway="oidc")
    for name, make in (
        ("an expired OpenID token", changed(iat=1, exp=2)),
        ("an OpenID token for the other port's audience", other_audience),
        ("an OpenID token for another audience", changed(aud="elsewhere")),
        ("an OpenID token of another issuer", changed(iss="http://127.0.0.1:1")),
        ("an OpenID token signed by another key", lambda t, d: sign(claims(t, d), new_key())),
        ("an unsigned OpenID token (`alg: none`)", lambda t, d: sign(claims(t, d), None)),
        ("an OpenID token signed with the public key (`HS256`)", by_hmac),
        ("an OpenID token with exchanged claims", edited),
    )
)


def with_certificate(name: str) -> Callable[[Target, Door], str]:
    """A good record from the owner of a certificate that must not count."""

    def run(target: Target, door: Door) -> str:
        context = ssl.create_default_context(cafile=target.authority)
        context.set_alpn_protocols(["h2"] if door == "gRPC" else ["http/1.1"])
        if name:
            certificate = target.certificates / f"{name}.crt"
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        return handshake(target, door, context)

    return run


def other_authority(target: Target, door: Door) -> str:
    return with_certificate("agent" if door == "audit" else "audit/client")(target, door)


def without_tls(target: Target, door: Door) -> str:
    client = Client(headers=target.clients[door].headers)
    if door == "gRPC":
        return rpc(target, client=client)
    head = f"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n{target.headers_of(door)}"
    body = f"Content-Type: {PROTOBUF}\r\nContent-Length: {len(protobuf())}\r\n\r\n".encode()
    return exchange(target.number(door), head.encode() + body + protobuf(), None).status


def old_tls(target: Target, door: Door, version: ssl.TLSVersion) -> str:
    context = _any_server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return handshake(target, door, context)


def weak_ciphers(target: Target, door: Door, ciphers: str) -> str:
    context = _any_server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    return handshake(target, door, context)


def _any_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


NOT_CONNECTED: Final = at(RECEIVERS, "closed")
CERTIFICATES: Final = (
    *(
        Attack(name, NOT_CONNECTED, with_certificate(file), gateway="mtls")
        for name, file in (
            ("no client certificate", ""),
            ("a client certificate of a foreign authority", "stranger/client"),
            ("a self-signed client certificate", "self-signed"),
            ("an expired client certificate", "expired"),
            ("the server's certificate as a client's", "server"),
        )
    ),
    Attack(
        "a client certificate of the other port's authority",
        NOT_CONNECTED,
        other_authority,
        gateway="mtls",
    ),
)
TLS: Final = (
    Attack("right credentials without TLS", {**at(OTLP_HTTP, "400"), "gRPC": CLOSED}, without_tls),
    Attack("TLS 1.0", NOT_CONNECTED, partial(old_tls, version=ssl.TLSVersion.TLSv1)),
    Attack("TLS 1.1", NOT_CONNECTED, partial(old_tls, version=ssl.TLSVersion.TLSv1_1)),
    Attack(
        "TLS without a server certificate",
        NOT_CONNECTED,
        partial(weak_ciphers, ciphers="ADH:AECDH"),
    ),
    Attack("TLS without encryption", NOT_CONNECTED, partial(weak_ciphers, ciphers="eNULL")),
)
ENTRY: Final = (*BEARER, *BASIC, *OIDC, *CERTIFICATES, *TLS)
