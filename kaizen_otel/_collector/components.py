"""Which components a config names, and which a binary has: pure functions over parsed text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import yaml

from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KINDS = ("receivers", "processors", "exporters", "connectors", "extensions")

# The range of versions that the shipped configs are written for (docs/reference/
# collector-versions.md).  0.158 is the first that knows all of their names (delta_to_cumulative);
# 0.171 is announced to change the default of exporters' queues.
VERSION_MIN = (0, 158, 0)
VERSION_BELOW = (0, 171, 0)

_VERSION = re.compile(r"\bversion\s+v?(\d+)\.(\d+)\.(\d+)")
# ${env:NAME}, ${file:/path}; a bare ${NAME} is read by the env provider.
_PROVIDER = re.compile(r"(?<!\$)\$\{([A-Za-z][A-Za-z0-9+.-]*):")

# The path under which our Go modules are known (collector/builder/manifest.yaml).
OWN_MODULES = "kaizen-otel.invalid/"

Components = frozenset[tuple[str, str]]
"""Pairs of kind and type, such as ``("exporters", "file")``."""

_SHARED = {
    ("receivers", "otlp"),
    ("processors", "memory_limiter"),
    ("exporters", "file"),
    ("extensions", "health_check"),
    ("providers", "env"),
    ("providers", "file"),
    ("providers", "yaml"),
}
_GATEWAY_ONLY = {
    *(
        ("processors", name)
        for name in (
            "delta_to_cumulative",
            "filter",
            "redaction",
            "resource",
            "tail_sampling",
            "transform",
        )
    ),
    *(
        ("exporters", name)
        for name in (
            "debug",
            "elasticsearch",
            "otlp_grpc",
            "otlp_http",
            "prometheus_remote_write",
        )
    ),
    ("connectors", "span_metrics"),
    *(
        ("extensions", name)
        for name in ("basicauth", "bearertokenauth", "file_storage", "oauth2client", "oidc")
    ),
}

# What our own distributions hold, smallest first (collector/builder/manifest*.yaml; a test
# compares this table with what the built binaries answer).
DISTRIBUTIONS: dict[str, Components] = {
    "dev": frozenset(_SHARED),
    "gateway": frozenset(_SHARED | _GATEWAY_ONLY),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryFacts:
    """What a Collector binary says of itself."""

    version: tuple[int, int, int]
    components: Components
    own: bool
    """Whether its ``elasticsearch`` exporter is ours, which loses nothing (or it has none)."""

    @property
    def version_text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def required_components(config_texts: Iterable[str]) -> Components:
    """All components that the configs name, also those that no pipeline uses.

    The Collector builds the config of every named component, so an unknown type is an error even
    if it is idle.  Raises ConfigError when a text is no YAML mapping.
    """
    required: set[tuple[str, str]] = {("providers", "file")}  # --config is read by it
    for text in config_texts:
        config = _mapping(text)
        for kind in KINDS:
            section = config.get(kind)
            if isinstance(section, dict):
                names = cast("dict[object, object]", section)
                required |= {(kind, str(name).partition("/")[0]) for name in names}
        required |= {("providers", scheme) for scheme in _PROVIDER.findall(text)}
    return frozenset(required)


def smallest_distribution(required: Components) -> str | None:
    """The name of our smallest distribution that has all of ``required``, if one has."""
    for name, components in DISTRIBUTIONS.items():
        if required <= components:
            return name
    return None


def parse_version(text: str) -> tuple[int, int, int] | None:
    """The version in the answer to ``--version`` (``otelcol-contrib version 0.161.0``)."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def parse_components(text: str) -> Components:
    """The components in the answer to ``components``, a YAML text.

    Raises ConfigError when it is none.
    """
    answer = _mapping(text)
    found: set[tuple[str, str]] = set()
    for kind in (*KINDS, "providers"):
        key = "scheme" if kind == "providers" else "name"
        entries = answer.get(kind)
        if isinstance(entries, list):
            for entry in cast("list[object]", entries):
                # Older Collectors list bare names.
                name = (
                    cast("dict[str, object]", entry).get(key) if isinstance(entry, dict) else entry
                )
                found.add((kind, str(name)))
    return frozenset(found)


def has_own_exporter(text: str) -> bool:
    """Whether the answer to ``components`` names no foreign ``elasticsearch`` exporter."""
    exporters = _mapping(text).get("exporters")
    for entry in cast("list[object]", exporters) if isinstance(exporters, list) else []:
        if isinstance(entry, dict):
            exporter = cast("dict[str, object]", entry)
            if exporter.get("name") == "elasticsearch":
                return str(exporter.get("module")).startswith(OWN_MODULES)
    return True


def objections(facts: BinaryFacts, required: Components, *, own: bool = False) -> list[str]:
    """Why a binary cannot be used for these components; empty if it can.

    With ``own``, another ``elasticsearch`` exporter than ours is an objection.
    """
    found: list[str] = []
    if own and not facts.own:
        found.append("its exporter elasticsearch is the official one, and ours is asked for")
    if not VERSION_MIN <= facts.version < VERSION_BELOW:
        found.append(
            f"version {facts.version_text} is outside the supported range "
            f">={'.'.join(map(str, VERSION_MIN))},<{'.'.join(map(str, VERSION_BELOW))}"
        )
    missing = required - facts.components
    if missing:
        found.append(f"lacks {describe(missing)}")
    return found


def describe(components: Iterable[tuple[str, str]]) -> str:
    """Components as people read them (``exporter file, extension oidc``)."""
    return ", ".join(f"{kind.removesuffix('s')} {name}" for kind, name in sorted(components))


def _mapping(text: str) -> Mapping[str, object]:
    try:
        parsed: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not a Collector config, it is no valid YAML: {error}") from error
    if not isinstance(parsed, dict):
        raise ConfigError("not a Collector config: the top of the file is no mapping")
    return cast("dict[str, object]", parsed)
