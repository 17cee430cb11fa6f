"""Rules for secrets and content: what is written in clear, printed or told to whom."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.config_model import is_loopback, split_address
from kaizen_otel._collector.config_tree import expand
from kaizen_otel._collector.rules import Hit, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._collector.config_model import Component, Config
    from kaizen_otel._collector.config_tree import Node
    from kaizen_otel._collector.rules import ComponentFacts

_SECRET_KEY: Final = re.compile(
    r"(?:.*_)?(?:password|passwd|passphrase|secret|token|tokens|api_?key|hmac_key|access_key"
    r"|secret_access_key|private_key|key_pem|inline)",
    re.IGNORECASE,
)
_SECRET_HEADER: Final = re.compile(
    r"(?:proxy-)?authorization|cookie|.*(?:api[-_]?key|token|secret|password).*", re.IGNORECASE
)
# Keys of that name which hold no secret.
_NO_SECRET: Final = frozenset({"metadata_keys", "blocked_key_patterns", "routing_key"})
_USER_INFO: Final = re.compile(r"[a-z0-9+.-]://[^/@:\s]*:([^/@\s]+)@", re.IGNORECASE)


def _plain_text(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in config.used_exporters:
        found = _plain_path(exporter)
        if found is not None and not _credentials(exporter):
            path, host = found
            yield Hit(
                path=(*exporter.path, *path), text=f"{exporter.id} sends to {host} without TLS"
            )


def _told_credentials(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in config.used_exporters:
        found = _plain_path(exporter)
        if found is not None and (credentials := _credentials(exporter)):
            path, host = found
            yield Hit(
                path=(*exporter.path, *path),
                text=f"{exporter.id} sends its {credentials} to {host} without TLS",
            )


def _plain_path(exporter: Component) -> tuple[tuple[str, ...], str] | None:
    """The setting by which an exporter sends plain text to another machine, and that machine."""
    endpoints = _endpoints(exporter)
    for path, node in endpoints:
        host, _ = split_address(node.raw)
        if not host or is_loopback(host) or host == "0.0.0.0":  # noqa: S104 - as a destination
            continue
        if node.text.parts.lower().startswith("http://"):
            return path, host
        insecure = exporter.get("tls", "insecure")
        if insecure is not None and insecure.text.boolean:
            return ("tls", "insecure"), host
    return None


def _endpoints(exporter: Component) -> list[tuple[tuple[str, ...], Node]]:
    if exporter.type == "prometheus":  # it listens
        return []
    found: list[tuple[tuple[str, ...], Node]] = []
    for key in ("endpoint", "traces_endpoint", "metrics_endpoint", "logs_endpoint"):
        node = exporter.get(key)
        if node is not None:
            found.append(((key,), node))
    several = exporter.get("endpoints")
    for number, node in enumerate([] if several is None else several.items):
        found.append((("endpoints", str(number)), node))
    return found


def _credentials(exporter: Component) -> str:
    if exporter.get("auth", "authenticator") is not None:
        return "credentials (auth)"
    for key in ("password", "api_key", "token"):
        node = exporter.get(key)
        if node is not None and node.raw:
            return key
    for name, _ in _headers(exporter.get("headers")):
        if _SECRET_HEADER.fullmatch(name):
            return f"header {name}"
    return ""


def _headers(node: Node | None) -> Iterator[tuple[str, Node]]:
    """Headers as a map, or as a list of name and value."""
    if node is None:
        return
    yield from node.entries.items()
    for item in node.items:
        name, value = item.get("name"), item.get("value")
        if name is not None and value is not None:
            yield name.raw, value


def _unverified(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for path, node in config.root.walk():
        if path and path[-1] == "insecure_skip_verify" and node.text.boolean:
            yield Hit(
                path=path,
                text=f"{'/'.join(path[:2])} takes any certificate",
                # What a scraper reads from its own node is not what it sends out.
                severity="warning" if path[0] == "receivers" else None,
            )


def _clear_secret(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for path, node in config.root.walk():
        if len(path) > 1 and path[0] == "service" and path[1] == "pipelines":
            continue
        if path and path[-1] == "headers":
            for name, value in _headers(node):
                if _SECRET_HEADER.fullmatch(name) and _is_clear(value):
                    yield Hit(path=(*path, name), text=f"the header {name} is written in clear")
        elif _names_secret(path) and _is_clear(node):
            yield Hit(path=path, text=f"{_name(path)} is written in clear")
        elif (found := _USER_INFO.search(node.raw)) and expand(found[1]).known is not None:
            yield Hit(path=path, text=f"the password in {_name(path)} is written in clear")


def _names_secret(path: tuple[str, ...]) -> bool:
    name = _name(path)
    if "headers" in path or name in _NO_SECRET:
        return False
    return bool(_SECRET_KEY.fullmatch(name)) and (name != "inline" or "htpasswd" in path)


def _name(path: tuple[str, ...]) -> str:
    """The last key; for an item of a list, the list's."""
    names = [key for key in path if not key.isdecimal()]
    return names[-1] if names else ""


def _is_clear(node: Node) -> bool:
    """Whether a scalar is a secret that stands in the file: nothing of it comes from elsewhere."""
    text = node.text.known
    # `include_token: true` and `max_tokens: 512` say nothing secret.
    return bool(text) and node.text.boolean is None and (node.quoted or node.text.number is None)


def _printed_content(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in config.used_exporters:
        verbosity = exporter.get("verbosity")
        if exporter.type != "debug" or verbosity is None:
            continue
        if (verbosity.text.known or "").lower() == "detailed":
            yield Hit(
                path=(*exporter.path, "verbosity"),
                text=f"{exporter.id} prints every attribute and body",
            )


RULES: Final = (
    Rule(
        id="R13",
        topic="security",
        title="What goes to another machine is encrypted",
        severity="warning",
        why="Spans and logs can hold prompts, names and arguments; without TLS everybody on the "
        "way reads and changes them.",
        fix="Use https:// or tls: {ca_file: ...}, and leave insecure to loopback.",
        check=_plain_text,
    ),
    Rule(
        id="R26",
        topic="security",
        title="Certificates are checked",
        severity="error",
        why="With insecure_skip_verify any machine on the way can answer in the backend's place "
        "and read everything, credentials included.",
        fix="Write tls: {ca_file: ...} with the certificate of the backend's authority.",
        check=_unverified,
    ),
    Rule(
        id="R27",
        topic="security",
        title="No secret stands in a config",
        severity="error",
        why="Configs are committed, mounted and printed (print-config); a secret in one is known "
        "to everybody who sees any of these, also as the default of a variable.",
        fix="Write ${env:NAME} without a default, ${file:/path}, or the component's own file "
        "setting (filename, password_file).",
        check=_clear_secret,
    ),
    Rule(
        id="R29",
        topic="security",
        title="Credentials go through TLS only",
        severity="error",
        why="A token or password in plain text belongs to everybody on the way, for as long as it "
        "is valid.",
        fix="Use https:// or tls: {ca_file: ...} for this exporter.",
        check=_told_credentials,
    ),
    Rule(
        id="R32",
        topic="security",
        title="Content is not printed",
        severity="warning",
        why="The debug exporter with verbosity detailed writes every attribute and body into the "
        "Collector's log, where no redaction and no access rule of the backend holds.",
        fix="Take the debug exporter out, or write verbosity: basic.",
        check=_printed_content,
    ),
)
