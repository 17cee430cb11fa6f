"""What the environment says about one receiver: its address, and the credentials for it.

Sources: OpenTelemetry "OTLP Exporter Configuration".  The standard has no variable for a token in
a file, and none for audit records; those are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypedDict
from urllib.parse import unquote, urlsplit

from kaizen_otel._environment import signal_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel._environment import Environment

Protocol = Literal["http/protobuf", "grpc"]
Compression = Literal["none", "gzip"]
Headers = tuple[tuple[str, str], ...]

AUDIT_PORT: Final = 4319
_DEFAULT_PORT: Final[Mapping[str, int]] = {"http/protobuf": 4318, "grpc": 4317}
_AUTHORIZATION: Final = "authorization"


class EndpointValues(TypedDict):
    """The fields of ``EndpointConfig``."""

    signal: str
    protocol: Protocol
    endpoint: str
    headers: Headers
    token_file: str | None
    timeout_ms: int
    compression: Compression
    certificate: str | None
    client_key: str | None
    client_certificate: str | None
    insecure: bool
    settings: Mapping[str, str]


def telemetry_endpoint(env: Environment, signal: str, grpc_target: str | None) -> EndpointValues:
    """Where and how a signal is sent; its own variables win over the common ones."""
    upper = signal_of(signal)

    def name(suffix: str) -> str:
        specific = f"OTEL_EXPORTER_OTLP_{upper}_{suffix}"
        return specific if env.text(specific) else f"OTEL_EXPORTER_OTLP_{suffix}"

    protocol: Protocol = "grpc" if grpc_target else _protocol(env, name("PROTOCOL"))
    insecure = env.boolean(name("INSECURE"))
    own_token = f"KAIZEN_OTEL_{upper}_TOKEN_FILE"
    settings = {
        "headers": name("HEADERS"),
        "token_file": own_token if env.text(own_token) else "KAIZEN_OTEL_TOKEN_FILE",
        "certificate": name("CERTIFICATE"),
        "client_key": name("CLIENT_KEY"),
        "client_certificate": name("CLIENT_CERTIFICATE"),
    }
    headers = _headers(env, settings["headers"])
    token_file = env.text(settings["token_file"]) or None
    has_own_headers = settings["headers"] != "OTEL_EXPORTER_OTLP_HEADERS"
    if _has_authorization(headers) and has_own_headers and settings["token_file"] != own_token:
        token_file = None  # what is said of one signal wins over what is said of all
    return EndpointValues(
        signal=signal,
        protocol=protocol,
        endpoint=grpc_target or _url(env, signal, upper, protocol, insecure=insecure),
        headers=_one_of_both(env, settings, headers, token_file),
        token_file=token_file,
        timeout_ms=env.integer(name("TIMEOUT"), 10_000, minimum=1),
        compression=env.choice(name("COMPRESSION"), ("none", "gzip"), "none"),
        certificate=env.text(settings["certificate"]) or None,
        client_key=env.text(settings["client_key"]) or None,
        client_certificate=env.text(settings["client_certificate"]) or None,
        insecure=insecure,
        settings=settings,
    )


def audit_endpoint(env: Environment, grpc_target: str | None) -> EndpointValues:
    """Where and how audit records are sent: as logs are, with what is said of audit alone."""
    values = telemetry_endpoint(env, "logs", None)
    url = _audit_url(env, grpc_target)
    values["protocol"] = "http/protobuf"
    values["endpoint"] = url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1/logs"
    values["insecure"] = False
    own = {
        field: f"KAIZEN_OTEL_AUDIT_{field.upper()}"
        for field in ("headers", "token_file", "certificate", "client_certificate", "client_key")
    }
    said = {field: env.text(name) for field, name in own.items()}
    if said["client_key"] and not said["client_certificate"]:
        env.warn(
            f"{own['client_key']} is not used without {own['client_certificate']}: set both, or "
            "neither to use those of logs"
        )
    values["certificate"] = said["certificate"] or values["certificate"]
    if said["client_certificate"]:
        values["client_certificate"] = said["client_certificate"]
        values["client_key"] = said["client_key"] or None
    headers = _headers(env, own["headers"])
    if said["headers"]:
        values["headers"] = headers
    if said["token_file"]:
        values["token_file"] = said["token_file"]
        values["headers"] = (
            _one_of_both(env, own, headers, said["token_file"])
            if said["headers"]
            else _without_authorization(values["headers"])
        )
    elif _has_authorization(headers):
        values["token_file"] = None  # the credentials of telemetry are not for this door
    is_own = {field: bool(said[field]) or not values[field] for field in own}  # type: ignore[literal-required]
    is_own["client_key"] = is_own["client_certificate"]
    values["settings"] = {
        field: own[field] if is_own[field] else name for field, name in values["settings"].items()
    }
    return values


def _audit_url(env: Environment, grpc_target: str | None) -> str:
    common = env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
    parts = urlsplit(
        common if common and is_url(common) else grpc_target or "http://localhost:4318"
    )
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    derived = f"{parts.scheme}://{host}:{AUDIT_PORT}"
    explicit = env.text("KAIZEN_OTEL_AUDIT_ENDPOINT")
    if explicit and not is_url(explicit):
        env.warn(
            f"KAIZEN_OTEL_AUDIT_ENDPOINT={explicit!r} is not a URL, {derived} is used: "
            f"set it to for example http://localhost:{AUDIT_PORT}"
        )
        explicit = ""
    return explicit or derived


def _one_of_both(
    env: Environment, settings: Mapping[str, str], headers: Headers, token_file: str | None
) -> Headers:
    """The headers, without one that the token of the file would contradict."""
    if token_file is None or not _has_authorization(headers):
        return headers
    env.warn(
        f"{settings['headers']} and {settings['token_file']} both say who we are: the token of the "
        f"file is sent, the authorization of {settings['headers']} is not. Remove one of them"
    )
    return _without_authorization(headers)


def _has_authorization(headers: Headers) -> bool:
    return any(name == _AUTHORIZATION for name, _ in headers)


def _without_authorization(headers: Headers) -> Headers:
    return tuple((name, value) for name, value in headers if name != _AUTHORIZATION)


def _protocol(env: Environment, name: str) -> Protocol:
    value = env.text(name)
    if value == "http/json":
        env.warn(f"{name}=http/json is not supported, http/protobuf is used")
        return "http/protobuf"
    return env.choice(name, ("http/protobuf", "grpc"), "http/protobuf")


def _url(env: Environment, signal: str, upper: str, protocol: Protocol, *, insecure: bool) -> str:
    specific_name, common_name = (
        f"OTEL_EXPORTER_OTLP_{upper}_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    specific, common = env.text(specific_name), env.text(common_name)
    port = _DEFAULT_PORT[protocol]
    text = specific or common or f"http://localhost:{port}"
    used = specific_name if specific else common_name
    if "://" not in text and protocol == "grpc":
        text = f"{'http' if insecure else 'https'}://{text}"
    if not is_url(text):
        env.warn(
            f"{used}={text!r} is not a URL with http:// or https://, "
            f"http://localhost:{port} is used: set {used} to for example http://localhost:{port}"
        )
        text, specific = f"http://localhost:{port}", ""
    if protocol == "grpc":
        parts = urlsplit(text)
        return f"{parts.scheme}://{parts.netloc}" + ("" if parts.port else f":{port}")
    # A signal's own endpoint is used as it is; the common one gets the signal's path
    # (OTLP exporter specification, "Endpoint URLs for OTLP/HTTP").
    if specific:
        return text if urlsplit(text).path else text + "/"
    return f"{text.rstrip('/')}/v1/{signal}"


def is_url(text: str) -> bool:
    """Whether requests can be sent there: http or https, with a host, on a port that may be."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0


def _headers(env: Environment, name: str) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for number, item in enumerate(filter(None, (p.strip() for p in env.text(name).split(","))), 1):
        key, separator, value = item.partition("=")
        key, value = unquote(key.strip()), unquote(value.strip())
        # The value may be a secret, so the warning holds only the position.
        if not separator or not _is_header(key, value):
            env.warn(f"{name}: item {number} is not 'name=value', it is not sent: correct {name}")
            continue
        pairs.append((key.lower(), value))
    return tuple(pairs)


def _is_header(key: str, value: str) -> bool:
    token = key.isascii() and bool(key) and all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in key)
    return token and value.isascii() and all(c.isprintable() for c in value)
