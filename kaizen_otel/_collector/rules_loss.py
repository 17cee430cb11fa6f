"""Rules against loss: what is acknowledged must survive outages, kills and power cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.config_model import has_queue, is_persistent
from kaizen_otel._collector.rules import Hit, Rule
from kaizen_otel._collector.rules_audit import audit_exporters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._collector.config_model import Component, Config
    from kaizen_otel._collector.rules import ComponentFacts

# The fewest retries that count as endless; our own exporter asks for the same.
_RETRIES_MIN: Final = 1000
_OUTAGE_STATUSES: Final = ("429", "502", "503", "504")
_SAMPLERS: Final = frozenset({"tail_sampling", "probabilistic_sampler"})
_SPAN_COUNTERS: Final = frozenset({"span_metrics", "service_graph"})
_LIMITER: Final = "memory_limiter"
_GRPC: Final = frozenset({"otlp", "otlp_grpc"})


def _limiter_first(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    connectors = {each.id for each in config.components("connectors")}
    audit = config.audit_ids
    for pipeline in config.pipelines:
        places = [
            number
            for number, name in enumerate(pipeline.processors)
            if name.partition("/")[0] == _LIMITER
        ]
        if places and places[0] != 0:
            yield Hit(
                path=(*pipeline.path, "processors", str(places[0])),
                text=f"{pipeline.processors[0]} stands before it in {pipeline.id}",
                severity="error" if pipeline.id in audit else None,
            )
        elif not places and not set(pipeline.receivers) <= connectors:
            yield Hit(
                path=(*pipeline.path, "processors"),
                text=f"{pipeline.id} has no memory_limiter",
                severity="error" if pipeline.id in audit else None,
            )


def _no_rotation(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    audit = {each.id for each in audit_exporters(config)}
    for exporter in config.used_exporters:
        path = exporter.get("path")
        device = path is not None and path.raw.startswith("/dev/")
        if exporter.type == "file" and exporter.get("rotation") is None and not device:
            yield Hit(
                path=exporter.path,
                text=f"{exporter.id} has no rotation",
                severity="error" if exporter.id in audit else None,
            )


def _unsynced_queue(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for storage in config.used_extensions:
        fsync = storage.get("fsync")
        if storage.type == "file_storage" and (fsync is None or fsync.text.boolean is False):
            yield Hit(
                path=(*storage.path, "fsync"), text=f"{storage.id} does not sync what it stores"
            )


def _retry_ends(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    # Without a queue, which R07 refuses for audit records, the sender repeats.
    audit = {each.id for each in audit_exporters(config)}
    for exporter in config.used_exporters:
        if exporter.id in audit:
            continue
        if exporter.type == "elasticsearch":
            yield from _few_retries(exporter)
        elif exporter.type != "opensearch" or exporter.get("retry_on_failure") is not None:
            yield from _retry_timeout(exporter)


def _few_retries(exporter: Component) -> Iterator[Hit]:
    most = exporter.get("retry", "max_retries")
    enabled = exporter.get("retry", "enabled")
    if enabled is not None and enabled.text.boolean is False:
        yield Hit(path=(*exporter.path, "retry", "enabled"), text=f"{exporter.id} never retries")
        return
    number = 2.0 if most is None else most.text.number
    if number is not None and number < _RETRIES_MIN:
        yield Hit(
            path=(*exporter.path, "retry", "max_retries"),
            text=f"{exporter.id} gives up after {number:.0f} retries",
        )


def _retry_timeout(exporter: Component) -> Iterator[Hit]:
    retry = exporter.get("retry_on_failure")
    longest = None if retry is None else retry.get("max_elapsed_time")
    enabled = None if retry is None else retry.get("enabled")
    path = (*exporter.path, "retry_on_failure")
    if enabled is not None and enabled.text.boolean is False:
        if has_queue(exporter):
            yield Hit(path=(*path, "enabled"), text=f"{exporter.id} never retries")
    elif longest is not None:
        seconds = longest.text.seconds
        if seconds is not None and seconds > 0:
            yield Hit(
                path=(*path, "max_elapsed_time"),
                text=f"{exporter.id} gives up after {longest.text.shown}",
            )
    elif is_persistent(exporter):
        yield Hit(path=path, text=f"{exporter.id} gives up after 300s, the default")


def _delta_dropped(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for pipeline in config.pipelines:
        if "otlp" not in {name.partition("/")[0] for name in pipeline.receivers}:
            continue
        types = {name.partition("/")[0] for name in pipeline.processors}
        if types & {"delta_to_cumulative", "deltatocumulative"}:
            continue
        for name in pipeline.exporters:
            exporter = config.component("exporters", name)
            if exporter is not None and _drops_delta(exporter):
                yield Hit(
                    path=(*pipeline.path, "processors"),
                    text=f"delta values of {pipeline.id} never reach {name}",
                )


def _drops_delta(exporter: Component) -> bool:
    if exporter.type == "prometheus_remote_write":
        return True
    endpoints = (exporter.get("endpoint"), exporter.get("metrics_endpoint"))
    return exporter.type == "otlp_http" and any(
        node is not None and "/api/v1/otlp" in node.text.parts for node in endpoints
    )


def _sampled_before_count(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for pipeline in config.pipelines:
        samplers = [name for name in pipeline.processors if name.partition("/")[0] in _SAMPLERS]
        for number, name in enumerate(pipeline.exporters):
            connector = config.component("connectors", name)
            if samplers and connector is not None and connector.type in _SPAN_COUNTERS:
                yield Hit(
                    path=(*pipeline.path, "exporters", str(number)),
                    text=f"{name} sees only what {samplers[0]} leaves",
                )


def _queue_in_memory(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    audit = {each.id for each in audit_exporters(config)}
    for exporter in config.used_exporters:
        if exporter.id in audit or not has_queue(exporter) or is_persistent(exporter):
            continue
        waits = exporter.get("sending_queue", "wait_for_result")
        if waits is None or not waits.text.boolean:
            yield Hit(
                path=(*exporter.path, "sending_queue"),
                text=f"the queue of {exporter.id} is in memory",
            )


def _batch(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for pipeline in config.pipelines:
        if pipeline.id in config.audit_ids:
            continue
        for number, name in enumerate(pipeline.processors):
            if name.partition("/")[0] == "batch":
                yield Hit(
                    path=(*pipeline.path, "processors", str(number)),
                    text=f"{name} in {pipeline.id}",
                )


def _status_not_retried(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in config.used_exporters:
        if exporter.type != "elasticsearch":
            continue
        statuses = exporter.get("retry", "retry_on_status")
        named = {"429"} if statuses is None else {each.raw for each in statuses.items}
        missing = [status for status in _OUTAGE_STATUSES if status not in named]
        if missing:
            yield Hit(
                path=(*exporter.path, "retry", "retry_on_status"),
                text=f"{exporter.id} drops what is answered with {', '.join(missing)}",
            )


def _recreated_storage(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for storage in config.used_extensions:
        recreate = storage.get("recreate")
        if storage.type == "file_storage" and recreate is not None and recreate.text.boolean:
            yield Hit(
                path=(*storage.path, "recreate"),
                text=f"{storage.id} starts empty when its database is damaged",
            )


def _small_queue(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in config.used_exporters:
        if is_persistent(exporter) and exporter.get("sending_queue", "queue_size") is None:
            yield Hit(
                path=(*exporter.path, "sending_queue"),
                text=f"{exporter.id} does not say how much its queue may hold",
            )


def _batches_by_count(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in config.used_exporters:
        batch = exporter.get("sending_queue", "batch")
        if exporter.type not in _GRPC or batch is None or not has_queue(exporter):
            continue
        sizer = batch.get("sizer") or exporter.get("sending_queue", "sizer")
        if sizer is None or sizer.raw != "bytes":
            yield Hit(
                path=(*exporter.path, "sending_queue", "batch"),
                text=f"{exporter.id} makes batches of a number of items, however large",
            )


def _blocked_senders(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    pushed = {
        name
        for pipeline in config.pipelines
        if "otlp" in {receiver.partition("/")[0] for receiver in pipeline.receivers}
        for name in pipeline.exporters
    }
    for exporter in config.used_exporters:
        node = exporter.get("sending_queue", "block_on_overflow")
        if node is not None and node.text.boolean and exporter.id in pushed:
            yield Hit(
                path=(*exporter.path, "sending_queue", "block_on_overflow"),
                text=f"senders wait while the queue of {exporter.id} is full",
            )


def _write_ahead_log(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in config.used_exporters:
        if exporter.type == "prometheus_remote_write" and exporter.get("wal") is not None:
            yield Hit(path=(*exporter.path, "wal"), text=f"{exporter.id} writes a WAL")


RULES: Final = (
    Rule(
        id="R03",
        topic="loss",
        title="memory_limiter is the first processor",
        severity="warning",
        why="It refuses while memory is short, so that the sender retries; behind another "
        "processor it refuses what was taken in already, and without it the kernel kills the "
        "process and takes every queue in memory along.",
        fix="Write memory_limiter first in the processors of every pipeline with a receiver.",
        check=_limiter_first,
    ),
    Rule(
        id="R04",
        topic="loss",
        title="A file exporter has rotation",
        severity="warning",
        why="Without rotation the file is emptied at every start and 4 KiB are buffered: over 6 "
        "SIGKILLs 5,436 of 7,514 acknowledged records were missing, 28 of 6,433 with append, "
        "and 0 of 7,334 with rotation.",
        fix="Write rotation: {max_megabytes: 512}; append cannot be combined with it.",
        check=_no_rotation,
    ),
    Rule(
        id="R08",
        topic="loss",
        title="A queue on disk is synced",
        severity="warning",
        why="fsync is off by default: what was answered with success is in the page cache only, "
        "and a power cut takes it.",
        fix="Write fsync: true in the file_storage extension.",
        check=_unsynced_queue,
    ),
    Rule(
        id="R09",
        topic="loss",
        title="Retries have no end",
        severity="warning",
        why="After 300 s (the elasticsearch exporter: after 2 retries) the exporter gives up, and "
        "the item is deleted from the queue, also from one on disk.",
        fix="Write retry_on_failure: {max_elapsed_time: 0s}; for elasticsearch retry: "
        "{max_retries: 1000000}.",
        check=_retry_ends,
    ),
    Rule(
        id="R11",
        topic="loss",
        title="Delta values are made cumulative for Prometheus",
        severity="warning",
        why="Remote write and Prometheus' OTLP receiver take cumulative values only; delta sums "
        "and histograms are dropped.",
        fix="Write delta_to_cumulative in the pipeline, before the exporter.",
        check=_delta_dropped,
    ),
    Rule(
        id="R12",
        topic="loss",
        title="Spans are counted before they are sampled",
        severity="warning",
        why="A connector behind a sampler counts the sample, so rates and error ratios are wrong "
        "by the sampling factor.",
        fix="Send the spans to the connector from a pipeline without the sampler, and sample in a "
        "second one.",
        check=_sampled_before_count,
    ),
    Rule(
        id="R14",
        topic="loss",
        title="An exporter's queue is kept on disk",
        severity="warning",
        why="The default queue holds 1000 requests in memory, each of them answered with success; "
        "a crash or a kill loses them all.",
        fix="Write sending_queue: {storage: file_storage/queue} and define that extension.",
        check=_queue_in_memory,
    ),
    Rule(
        id="R16",
        topic="loss",
        title="No batch processor",
        severity="warning",
        why="It answers success when a request is in a channel in memory and drops it at any later "
        "error; it is deprecated and removed in v0.177.",
        fix="Write sending_queue: {batch: {flush_timeout: 200ms}} on the exporter instead.",
        check=_batch,
    ),
    Rule(
        id="R17",
        topic="loss",
        title="The elasticsearch exporter retries an outage",
        severity="warning",
        why="By default only status 429 is retried; what a proxy answers with 502, 503 or 504 "
        "during an outage is deleted from the queue.",
        fix="Write retry: {retry_on_status: [429, 500, 502, 503, 504]}.",
        check=_status_not_retried,
    ),
    Rule(
        id="R18",
        topic="loss",
        title="A damaged queue stops the start",
        severity="warning",
        why="With recreate a damaged database is renamed to .backup and the Collector starts with "
        "an empty queue, which nobody notices.",
        fix="Remove recreate; move a damaged file away by hand and keep it.",
        check=_recreated_storage,
    ),
    Rule(
        id="R39",
        topic="loss",
        title="A queue on disk says how much it holds",
        severity="warning",
        why="The default is 1000 requests, whatever their size: minutes of an outage, after which "
        "new requests are refused.",
        fix="Write sizer: items (or bytes) and a queue_size for the longest outage to survive.",
        check=_small_queue,
    ),
    Rule(
        id="R40",
        topic="loss",
        title="A full queue refuses at once",
        severity="warning",
        why="With block_on_overflow each request waits in memory until its sender's deadline; a "
        "sender that is refused retries, one that waited has used up its time and drops.",
        fix="Remove block_on_overflow where an OTLP receiver feeds the exporter.",
        check=_blocked_senders,
    ),
    Rule(
        id="R41",
        topic="loss",
        title="No write-ahead log in remote write",
        severity="warning",
        why="The exporter's WAL has a history of stalls and corrupt files (contrib#15277, #24399).",
        fix="Remove wal; for durable metrics send them by otlp_http with a queue on disk.",
        check=_write_ahead_log,
    ),
    Rule(
        id="R47",
        topic="loss",
        title="Batches by gRPC are bounded by bytes",
        severity="warning",
        why="A gRPC receiver refuses what is larger than its limit (4 MiB by default), for good: "
        "1,500 of 1,500 queued records of 20 kB were dropped as one message.",
        fix="Write batch: {sizer: bytes, max_size: 4000000}.",
        check=_batches_by_count,
    ),
)
