"""Each rule guards something in a shipped config: undo it, and that rule alone objects."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.config_tree import Node, Place, Source
from kaizen_otel._collector.lint import RULES, lint
from kaizen_otel._collector.read_config import read_configs
from kaizen_otel._collector.resources import SHIPPED_CONFIGS, config_path

FACTS = load_facts()
DELETE = object()
AUDIT = "service pipelines logs/audit"

# Rule, config, and what is set (or deleted) where; a path is keys with spaces between them.
MUTATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("R01", "gateway", {"receivers otlp protocols http endpoint": "0.0.0.0:4318"}),
    ("R02", "gateway", {"service pipelines logs receivers": ["otlp", "otlp/audit"]}),
    (
        "R03",
        "gateway",
        {"service pipelines traces processors": ["redaction/telemetry", "memory_limiter"]},
    ),
    ("R03", "audit", {f"{AUDIT} processors": [], "processors": DELETE}),
    ("R04", "dev", {"exporters file/traces rotation": DELETE}),
    ("R04", "audit", {"exporters file/audit rotation": DELETE}),
    ("R05", "audit", {"exporters file/audit rotation max_backups": 5}),
    ("R05", "gateway", {"exporters file/audit rotation max_backups": DELETE}),
    ("R05", "audit", {"exporters file/audit rotation max_days": 30}),
    ("R06", "audit", {"exporters debug": {}, f"{AUDIT} exporters": ["file/audit", "debug"]}),
    ("R07", "audit", {"processors batch": {}, f"{AUDIT} processors": ["memory_limiter", "batch"]}),
    ("R07", "agent", {"exporters otlp_http/audit sending_queue": DELETE}),
    ("R08", "gateway", {"extensions file_storage/queue fsync": False}),
    ("R09", "gateway", {"exporters otlp_grpc/jaeger retry_on_failure max_elapsed_time": "5m"}),
    ("R09", "agent", {"exporters otlp_grpc/gateway retry_on_failure": DELETE}),
    ("R09", "gateway", {"exporters elasticsearch retry max_retries": DELETE}),
    (
        "R10",
        "audit",
        {"processors redaction": {}, f"{AUDIT} processors": ["memory_limiter", "redaction"]},
    ),
    (
        "R11",
        "gateway",
        {
            "processors delta_to_cumulative": DELETE,
            "service pipelines metrics processors": ["memory_limiter", "redaction/telemetry"],
        },
    ),
    (
        "R12",
        "gateway",
        {
            "processors tail_sampling": {},
            "service pipelines traces processors": [
                "memory_limiter",
                "redaction/telemetry",
                "tail_sampling",
            ],
        },
    ),
    ("R13", "gateway", {"exporters otlp_grpc/jaeger endpoint": "jaeger.example.com:4317"}),
    ("R14", "gateway", {"exporters elasticsearch sending_queue storage": DELETE}),
    ("R15", "gateway", {"exporters file/audit directory_permissions": DELETE}),
    ("R15", "dev", {"exporters file/logs directory_permissions": "0750"}),
    (
        "R16",
        "agent",
        {
            "processors batch": {},
            "service pipelines logs processors": ["memory_limiter", "redaction/telemetry", "batch"],
        },
    ),
    ("R17", "gateway", {"exporters elasticsearch retry retry_on_status": [429]}),
    ("R18", "agent", {"extensions file_storage/queue recreate": True}),
    ("R19", "agent", {"service extensions": ["health_check"]}),
    (
        "R20",
        "dev",
        {"exporters file/logs path": "a.jsonl", "exporters file/traces path": "a.jsonl"},
    ),
    (
        "R21",
        "agent",
        {
            "extensions file_storage/other": {
                "directory": "${env:KAIZEN_OTEL_QUEUE_DIR:-/var/lib/kaizen-otel/queue}",
                "fsync": True,
            },
            "service extensions": ["health_check", "file_storage/queue", "file_storage/other"],
        },
    ),
    ("R22", "gateway", {"receivers otlp/audit protocols http endpoint": "127.0.0.1:4318"}),
    (
        "R22",
        "dev",
        {"extensions health_check endpoint": DELETE}
        | {"receivers otlp protocols http endpoint": "localhost:13133"},
    ),
    ("R23", "audit", {"extensions health_check endpoint": "0.0.0.0:13133"}),
    (
        "R24",
        "audit",
        {
            "extensions pprof": {"endpoint": ":1777"},
            "service extensions": ["health_check", "pprof"],
        },
    ),
    (
        "R25",
        "audit",
        {"service telemetry metrics readers 0 pull exporter prometheus host": "0.0.0.0"},
    ),
    ("R26", "gateway", {"exporters otlp_grpc/jaeger tls": {"insecure_skip_verify": True}}),
    ("R27", "gateway", {"exporters elasticsearch password": "changeme"}),
    ("R27", "gateway", {"exporters elasticsearch password": "${env:PASSWORD:-changeme}"}),
    ("R27", "gateway", {"exporters elasticsearch endpoints": ["http://u:secret@127.0.0.1:9200"]}),
    (
        "R28",
        "agent",
        {
            "receivers otlp protocols http tls": {
                "cert_file": "c",
                "key_file": "k",
                "min_version": "1.1",
            }
        },
    ),
    (
        "R29",
        "gateway",
        {
            "exporters otlp_grpc/jaeger endpoint": "jaeger.example.com:4317",
            "exporters otlp_grpc/jaeger headers": {"authorization": "Bearer ${env:TOKEN}"},
        },
    ),
    ("R30", "gateway", {"receivers otlp protocols grpc max_recv_msg_size_mib": 512}),
    ("R31", "gateway", {"connectors span_metrics aggregation_cardinality_limit": DELETE}),
    (
        "R32",
        "gateway",
        {
            "exporters debug": {"verbosity": "detailed"},
            "service pipelines logs exporters": ["elasticsearch", "debug"],
        },
    ),
    (
        "R33",
        "audit",
        {"extensions health_chek": {}, "service extensions": ["health_check", "health_chek"]},
    ),
    (
        "R34",
        "agent",
        {
            "processors deltatocumulative": {},
            "service pipelines metrics processors": [
                "memory_limiter",
                "redaction/telemetry",
                "deltatocumulative",
            ],
        },
    ),
    ("R35", "gateway", {"processors memory_limiter limit_percent": 80}),
    ("R35", "gateway", {"exporters elasticsearch sending_queue batch flush_time": "1s"}),
    ("R35", "gateway", {"service pipeline": {}}),
    ("R36", "dev", {"service pipelines logs exporters": ["file/logs", "file/copy"]}),
    ("R37", "gateway", {"processors filter": {}}),
    ("R38", "dev", {"exporters file/traces group_by": {"enabled": True}}),
    ("R39", "gateway", {"exporters elasticsearch sending_queue queue_size": DELETE}),
    ("R40", "agent", {"exporters otlp_grpc/gateway sending_queue block_on_overflow": True}),
    ("R41", "gateway", {"exporters prometheus_remote_write wal": {"directory": "/tmp/wal"}}),
    ("R42", "gateway", {"exporters elasticsearch mapping": {"mode": "ecs"}}),
    ("R43", "dev", {}),
    ("R44", "gateway", {"exporters elasticsearch logs_index": "logs-$DATASET"}),
    ("R45", "audit", {"exporters file/audit format": "proto"}),
    ("R46", "gateway", {"receivers otlp protocols http read_header_timeout": DELETE}),
    ("R46", "audit", {"receivers otlp/audit protocols http read_header_timeout": DELETE}),
    ("R47", "agent", {"exporters otlp_grpc/gateway sending_queue batch sizer": "items"}),
]


@cache
def shipped(name: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    return yaml.load(config_path(name).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def tree(value: Any) -> Node:  # noqa: ANN401
    """The tree that reading the value's YAML would give, without its places."""
    place = Place(file="mutated", line=1, column=1)
    if isinstance(value, dict):
        return Node(place=place, value={str(key): tree(each) for key, each in value.items()})
    if isinstance(value, list):
        return Node(place=place, value=[tree(each) for each in value])
    if isinstance(value, bool):
        return Node(place=place, value=str(value).lower())
    return Node(place=place, value=None if value is None else str(value))


def mutated(name: str, changes: dict[str, Any]) -> Source:
    config = deepcopy(shipped(name))
    for path, value in changes.items():
        *above, last = path.split()
        node = config
        for key in above:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        if value is DELETE:
            del node[last]
        else:
            node[last] = value
    return Source(names=("mutated",), root=tree(config))


@pytest.mark.parametrize(
    ("rule", "name", "changes"),
    MUTATIONS,
    ids=[f"{rule}-{name}-{number}" for number, (rule, name, _) in enumerate(MUTATIONS)],
)
def test_what_a_rule_guards_in_a_shipped_config_is_guarded_by_it_alone(
    rule: str, name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    if changes:
        source = mutated(name, changes)
    else:  # R43 is about comments, which a parsed config has not
        path = tmp_path / "config.yaml"
        path.write_text(config_path(name).read_text() + "# kaizen-lint: allow R04\n")
        source = read_configs([path])
    assert {finding.rule for finding in lint(source, FACTS).findings} == {rule}


def test_every_rule_guards_something_in_a_shipped_config() -> None:
    assert {rule for rule, _, _ in MUTATIONS} == {rule.id for rule in RULES}


@pytest.mark.parametrize("name", SHIPPED_CONFIGS)
def test_a_shipped_config_is_clean(name: str) -> None:
    report = lint(read_configs([config_path(name)]), FACTS)
    assert report.findings == ()
    assert report.allowed == ()
