"""Rules for what fails or does nothing: names, keys, references, ports, folders, leftovers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel._collector.config_model import KINDS, is_loopback
from kaizen_otel._collector.rules import Hit, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._collector.config_model import Component, Config, Pipeline, Server
    from kaizen_otel._collector.config_tree import Node, Path
    from kaizen_otel._collector.rules import ComponentFacts

_STARTED: Final = ("storage", "authenticator", "encoding")
# The bare form, which is a literal text since 0.104; names are upper case in every example.
_BARE: Final = re.compile(r"(?<![$\\])\$([A-Z][A-Z0-9_]{2,})\b")

_IGNORED: Final = {
    ("elasticsearch", "mapping", "mode"): "the scope attribute elastic.mapping.mode",
    ("elasticsearch", "flush"): "sending_queue.batch",
    ("elasticsearch", "num_workers"): "sending_queue.num_consumers",
    ("elasticsearch", "retry", "max_requests"): "retry.max_retries",
    ("elasticsearch", "logs_dynamic_index"): "nothing, it is always on",
    ("elasticsearch", "metrics_dynamic_index"): "nothing, it is always on",
    ("elasticsearch", "traces_dynamic_index"): "nothing, it is always on",
    ("prometheus_remote_write", "add_metric_suffixes"): "translation_strategy",
    ("span_metrics", "dimensions_cache_size"): "aggregation_cardinality_limit",
}


def _not_started(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    started = set(config.extensions)
    for path, name in _wanted_extensions(config):
        if name not in started:
            yield Hit(
                path=path,
                text=f"{path[1]} uses {name}, which service.extensions does not start",
            )


def _wanted_extensions(config: Config) -> Iterator[tuple[Path, str]]:
    """Each setting that names an extension, and the id it names."""
    defined = {each.id for each in config.components("extensions")}
    for kind in ("receivers", "exporters", "processors", "extensions"):
        for component in config.components(kind):
            for path, node in component.node.walk():
                if not path or path[-1] not in _STARTED or not node.raw or node.text.known is None:
                    continue
                # `encoding: utf-8` and a storage that only its component knows are no ids.
                sure = path[-1] == "authenticator" or path[-2:] == ("sending_queue", "storage")
                if sure or node.raw in defined:
                    yield (*component.path, *path), node.raw


def _same_file(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    seen: dict[str, str] = {}
    for exporter in config.used_exporters:
        path = exporter.get("path")
        if exporter.type != "file" or path is None or path.raw.startswith("/dev/"):
            continue
        # Two unknown variables are told apart by their names.
        first = seen.setdefault(path.raw, exporter.id)
        if first != exporter.id:
            yield Hit(
                path=(*exporter.path, "path"), text=f"{first} and {exporter.id} write the same file"
            )


def _same_folder(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    seen: dict[str, str] = {}
    for storage in config.used_extensions:
        if storage.type != "file_storage":
            continue
        folder = storage.get("directory")
        name = "/var/lib/otelcol/file_storage" if folder is None else folder.raw.rstrip("/")
        first = seen.setdefault(name, storage.id)
        if first != storage.id:
            yield Hit(
                path=(*storage.path, "directory"),
                text=f"{first} and {storage.id} share the folder {name}",
            )


def _same_port(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    ports: dict[str, dict[str, Server]] = {}
    for server in config.servers:
        if server.port in {None, "0", ""}:
            continue
        taken = ports.setdefault(str(server.port), {})
        where = _interface(server)
        everyone = next(iter(taken.values()), None) if where == _ALL else taken.get(_ALL)
        first = taken.get(where, everyone)
        if first is None:
            taken[where] = server
        else:
            yield Hit(
                path=server.path,
                text=f"port {server.port} is taken by {'.'.join(first.component[1:])}",
            )


_ALL: Final = "*"


def _interface(server: Server) -> str:
    """What a listener takes: one interface, or all."""
    if server.everywhere:
        return _ALL
    if server.host is None:  # two of these are most likely the same address
        return "?"
    return "localhost" if is_loopback(server.host) else server.host


def _unknown_type(config: Config, facts: ComponentFacts) -> Iterator[Hit]:
    for kind in KINDS:
        for component in config.components(kind):
            if not facts.knows(kind, component.written_type):
                yield Hit(
                    path=component.path,
                    text=f"no {kind.removesuffix('s')} {component.written_type} in "
                    f"v{facts.version} of our distributions or the official contrib one",
                )


def _old_name(config: Config, facts: ComponentFacts) -> Iterator[Hit]:
    for kind in KINDS:
        for component in config.components(kind):
            present = facts.aliases.get((kind, component.written_type))
            if present is not None:
                yield Hit(
                    path=component.path, text=f"{component.written_type} is called {present} now"
                )


def _unknown_key(config: Config, facts: ComponentFacts) -> Iterator[Hit]:
    for section in config.root.entries:
        if section not in {*KINDS, "service"}:
            yield Hit(path=(section,), text=f"no section {section!r} in a Collector config")
    for kind in KINDS:
        for component in config.components(kind):
            name = facts.aliases.get((kind, component.written_type), component.written_type)
            known = facts.keys.get((kind, name))
            if known is not None:
                yield from _unknown_below(component.node, component.path, known, component.id)
    service = config.root.get("service")
    if service is not None and facts.service:
        yield from _unknown_below(service, ("service",), facts.service, "service")


def _unknown_below(node: Node, path: Path, known: object, name: str) -> Iterator[Hit]:
    if isinstance(known, list):
        for number, item in enumerate(node.items):
            for each in cast("list[object]", known):
                yield from _unknown_below(item, (*path, str(number)), each, name)
    elif isinstance(known, dict):
        keys = cast("dict[str, object]", known)
        for key, child in node.entries.items():
            # The Collector matches keys without regard to case (mapstructure).
            below = keys.get(key, keys.get(key.lower(), keys.get("*", _NONE)))
            if below is _NONE:
                yield Hit(path=(*path, key), text=f"{name} has no setting {key!r}")
            else:
                yield from _unknown_below(child, (*path, key), below, name)


_NONE: Final = object()


def _undefined(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for pipeline in config.pipelines:
        for role, names in _roles(pipeline):
            kinds = (role,) if role == "processors" else (role, "connectors")
            for number, name in enumerate(names):
                if all(config.component(kind, name) is None for kind in kinds):
                    yield Hit(
                        path=(*pipeline.path, role, str(number)),
                        text=f"{pipeline.id} names {name}, which is not defined",
                    )
    for number, name in enumerate(config.extensions):
        if config.component("extensions", name) is None:
            yield Hit(
                path=("service", "extensions", str(number)),
                text=f"the extension {name} is not defined",
            )


def _roles(pipeline: Pipeline) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (
        ("receivers", pipeline.receivers),
        ("processors", pipeline.processors),
        ("exporters", pipeline.exporters),
    )


def _unused(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    pipelines = config.pipelines
    receiving = {name for each in pipelines for name in each.receivers}
    exporting = {name for each in pipelines for name in each.exporters}
    used = {
        "receivers": receiving,
        "processors": {name for each in pipelines for name in each.processors},
        "exporters": exporting,
        "connectors": receiving & exporting,
        # What is used and not started is R19's.
        "extensions": {*config.extensions, *(name for _path, name in _wanted_extensions(config))},
    }
    for kind in KINDS:
        for component in config.components(kind):
            if component.id not in used[kind] and not _idle_by_merge(config, component):
                yield Hit(path=component.path, text=f"{component.id} is defined and not used")


def _idle_by_merge(config: Config, component: Component) -> bool:
    """Whether it is idle for a reason that only merging knows.

    An overlay that sends elsewhere cannot take the base's exporter away, and one for several
    configs names receivers that one of them lacks.
    """
    file = component.node.place.file
    return file in config.shared or (
        component.kind == "exporters" and bool(config.list_files - {file})
    )


def _ignored_key(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for kind in ("exporters", "connectors"):
        for component in config.components(kind):
            for (name, *path), instead in _IGNORED.items():
                if component.type == name and component.get(*path) is not None:
                    yield Hit(
                        path=(*component.path, *path),
                        text=f"{component.id} ignores {'.'.join(path)}; instead: {instead}",
                    )


def _bare_variable(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for path, node in config.root.walk():
        found = _BARE.search(node.raw)
        if found:
            yield Hit(path=path, text=f"${found[1]} stays as it is written")


RULES: Final = (
    Rule(
        id="R19",
        topic="shape",
        title="An extension that is used is started",
        severity="error",
        why="`validate` accepts a storage, an authenticator or an encoding that service.extensions "
        "does not name; the Collector then fails at its start.",
        fix="Add the id to service.extensions.",
        check=_not_started,
    ),
    Rule(
        id="R20",
        topic="shape",
        title="Each file has one writer",
        severity="error",
        why="Two exporters rotate and write one file without knowing of each other: lines are "
        "torn, and what one renames the other goes on writing to.",
        fix="Give each file exporter a path of its own.",
        check=_same_file,
    ),
    Rule(
        id="R21",
        topic="shape",
        title="Each file_storage has its own folder",
        severity="warning",
        why="Each locks its database files and cleans up the compaction files of the folder at its "
        "start, also those of the other.",
        fix="Give each file_storage extension a directory of its own, or use one for all.",
        check=_same_folder,
    ),
    Rule(
        id="R22",
        topic="shape",
        title="Each port has one listener",
        severity="error",
        why="`validate` binds nothing, so it accepts a port that is used twice; the Collector then "
        "fails at its start.",
        fix="Give each receiver and extension a port of its own.",
        check=_same_port,
    ),
    Rule(
        id="R33",
        topic="shape",
        title="Component types exist",
        severity="warning",
        why="The Collector does not start with a type that its binary lacks, also when no pipeline "
        "uses it.",
        fix="Correct the name, or allow it here if your own distribution has it.",
        check=_unknown_type,
    ),
    Rule(
        id="R34",
        topic="shape",
        title="Components have their present names",
        severity="warning",
        why="Old names log a warning now and are removed later; renaming moves the component's "
        "queue on disk to another file, so it is best done while the queue is empty.",
        fix="Use the present name, in the pipelines too.",
        check=_old_name,
    ),
    Rule(
        id="R35",
        topic="shape",
        title="Settings exist",
        severity="error",
        why="The Collector refuses to start with a key that a component does not have; in an "
        "overlay that is seen only when it is used.",
        fix="Correct the key (kaizen-otel collector validate asks the Collector itself).",
        check=_unknown_key,
    ),
    Rule(
        id="R36",
        topic="shape",
        title="Pipelines name what is defined",
        severity="error",
        why="The Collector refuses to start; in an overlay the usual cause is a list that replaced "
        "the list of the base.",
        fix="Define the component or correct its id.",
        check=_undefined,
    ),
    Rule(
        id="R37",
        topic="shape",
        title="What is defined is used",
        severity="warning",
        why="A receiver, processor or extension that is not used does nothing, and nobody is told: "
        "data that was to be redacted is not.",
        fix="Use it in a pipeline (or service.extensions), or remove it.",
        check=_unused,
    ),
    Rule(
        id="R42",
        topic="shape",
        title="No setting is ignored",
        severity="warning",
        why="The Collector accepts keys that it no longer honours, without a word.",
        fix="Use what the finding names instead.",
        check=_ignored_key,
    ),
    Rule(
        id="R44",
        topic="shape",
        title="Variables are written with braces",
        severity="warning",
        why="$NAME without braces is no longer expanded: the Collector takes it as text, so a "
        "password is the name of its variable.",
        fix="Write ${env:NAME}; write $$NAME for the text itself.",
        check=_bare_variable,
    ),
)
