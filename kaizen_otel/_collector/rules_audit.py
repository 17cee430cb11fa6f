"""Rules for audit pipelines: the sender's success must mean that the record is in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.config_model import has_queue, is_persistent
from kaizen_otel._collector.rules import Hit, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._collector.config_model import Component, Config
    from kaizen_otel._collector.rules import ComponentFacts

# The first cannot change a record; the others have rules of their own.
_HARMLESS: Final = frozenset({"memory_limiter", "batch"})


def audit_exporters(config: Config) -> list[Component]:
    """The exporters of all audit pipelines, each once."""
    names = {name for pipeline in config.audit_pipelines for name in pipeline.exporters}
    return [each for each in config.components("exporters") if each.id in names]


def _shared_receiver(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    others: dict[str, str] = {}
    for pipeline in config.pipelines:
        if pipeline.id not in config.audit_ids:
            for name in pipeline.receivers:
                others.setdefault(name, pipeline.id)
    for pipeline in config.audit_pipelines:
        for number, name in enumerate(pipeline.receivers):
            if name in others:
                yield Hit(
                    path=(*pipeline.path, "receivers", str(number)),
                    text=f"{name} feeds {pipeline.id} and also {others[name]}",
                )


def _deleted_files(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in audit_exporters(config):
        rotation = exporter.get("rotation")
        if exporter.type != "file" or rotation is None:
            continue
        path = (*exporter.path, "rotation")
        backups = rotation.get("max_backups")
        if backups is None:
            yield Hit(path=path, text="max_backups is not set: from the 101st file on one is lost")
        elif backups.text.number != 0:
            yield Hit(
                path=(*path, "max_backups"),
                text=f"max_backups is {backups.text.shown}: older files are removed",
            )
        days = rotation.get("max_days")
        if days is not None and days.text.number != 0:
            yield Hit(
                path=(*path, "max_days"),
                text=f"max_days is {days.text.shown}: older files are removed",
            )


def _second_exporter(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for pipeline in config.audit_pipelines:
        if len(pipeline.exporters) > 1:
            yield Hit(
                path=(*pipeline.path, "exporters"),
                text=f"{pipeline.id} has {len(pipeline.exporters)} exporters: "
                f"{', '.join(pipeline.exporters)}",
            )


def _early_success(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for pipeline in config.audit_pipelines:
        for number, name in enumerate(pipeline.processors):
            if name.partition("/")[0] == "batch":
                yield Hit(
                    path=(*pipeline.path, "processors", str(number)),
                    text=f"{name} in {pipeline.id}",
                )
    for exporter in audit_exporters(config):
        if has_queue(exporter):
            kind = "on disk" if is_persistent(exporter) else "in memory"
            yield Hit(
                path=(*exporter.path, "sending_queue"),
                text=f"{exporter.id} has a queue {kind} between the record and its destination",
            )


def _changing_processor(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for pipeline in config.audit_pipelines:
        for number, name in enumerate(pipeline.processors):
            if name.partition("/")[0] not in _HARMLESS:
                yield Hit(
                    path=(*pipeline.path, "processors", str(number)),
                    text=f"{name} can change or drop records of {pipeline.id}",
                )


def _grouped_file(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    audit = {each.id for each in audit_exporters(config)}
    for exporter in config.used_exporters:
        enabled = exporter.get("group_by", "enabled")
        if exporter.type == "file" and enabled is not None and enabled.text.boolean:
            yield Hit(
                path=(*exporter.path, "group_by"),
                text=f"{exporter.id} drops what lacks the attribute it groups by",
                severity="error" if exporter.id in audit else None,
            )


def _unreadable_file(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in audit_exporters(config):
        if exporter.type != "file":
            continue
        for key, good in (("format", "json"), ("compression", ""), ("encoding", "")):
            node = exporter.get(key)
            if node is not None and node.raw and node.text.known not in {good, None}:
                yield Hit(
                    path=(*exporter.path, key),
                    text=f"{exporter.id} writes {key} {node.text.shown}, not lines of OTLP JSON",
                )


RULES: Final = (
    Rule(
        id="R02",
        topic="audit",
        title="An audit pipeline has its own receiver",
        severity="error",
        why="A fan-out calls pipelines one after the other and joins their errors, so a refusal of "
        "the telemetry part makes the sender repeat a record that the trail already has.",
        fix="Define a second receiver on its own port (otlp/audit on 4319) and use it in the audit "
        "pipeline only.",
        check=_shared_receiver,
    ),
    Rule(
        id="R05",
        topic="audit",
        title="No audit file is ever removed",
        severity="error",
        why="The exporter's default max_backups of 100 removes the oldest files; 0 and max_days 0 "
        "keep all.",
        fix="Write rotation: {max_backups: 0, max_days: 0}, and prune by kaizen-otel audit prune.",
        check=_deleted_files,
    ),
    Rule(
        id="R06",
        topic="audit",
        title="One exporter for audit records",
        severity="error",
        why="With two exporters one failure is a failure of the whole request: the sender repeats "
        "it, and the healthy exporter gets the record twice.",
        fix="Leave the file exporter alone in the pipeline; derive copies from the file.",
        check=_second_exporter,
    ),
    Rule(
        id="R07",
        topic="audit",
        title="No batch and no queue for audit records",
        severity="error",
        why="Both answer success before the record is stored: batch when it is in a channel in "
        "memory, a queue when it is in the queue; any later error drops it.",
        fix="Take batch out; use the file exporter, or sending_queue: {enabled: false} on an "
        "exporter that has a queue.",
        check=_early_success,
    ),
    Rule(
        id="R10",
        topic="audit",
        title="Nothing changes an audit record",
        severity="error",
        why="A changed body breaks its hash chain, and a filter or sampler answers success for a "
        "record that nobody has.",
        fix="Use memory_limiter alone; redact in the library, before the record is signed.",
        check=_changing_processor,
    ),
    Rule(
        id="R38",
        topic="audit",
        title="A file exporter does not group",
        severity="warning",
        why="With group_by, records that lack the attribute are dropped and answered with success; "
        "only a debug line tells.",
        fix="Remove group_by; one file holds every record.",
        check=_grouped_file,
    ),
    Rule(
        id="R45",
        topic="audit",
        title="The audit file is lines of OTLP JSON",
        severity="error",
        why="Encodings drop what stands outside of the body or write the body in another form, and "
        "compression writes one frame per request and fails for good after one error.",
        fix="Remove format, compression and encoding from the audit exporter.",
        check=_unreadable_file,
    ),
)
