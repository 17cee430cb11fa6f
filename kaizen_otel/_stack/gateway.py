"""The Collector in front of the three backends, with the shipped ``gateway.yaml``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kaizen_otel._collector.obtain import obtain as obtain_collector
from kaizen_otel._collector.resources import config_path
from kaizen_otel._stack.build import say
from kaizen_otel._stack.ports import LOOPBACK
from kaizen_otel._stack.processes import Launch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kaizen_otel._stack.ports import StackPorts

FOLDERS = ("queue", "audit", "dead-letter")


def obtain(*, cache: Path | None = None, progress: Callable[[str], None] = say) -> Path:
    """A Collector whose ``elasticsearch`` exporter is ours, for the store is an OpenSearch.

    Raises SetupError saying what to install.
    """
    environment = dict(os.environ)
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache.parent)
    config = config_path("gateway")
    return obtain_collector([config], environment=environment, progress=progress, own=True).path


def audit_folder(directory: Path) -> Path:
    """Where this Collector writes the trail."""
    return directory / "audit"


def launch(program: Path, *, ports: StackPorts, directory: Path) -> Launch:
    """How to start the Collector with its queues, trail and dead letters in ``directory``."""
    for folder in FOLDERS:
        (directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    base = f"http://{LOOPBACK}:{ports.otlp_http}"
    return Launch(
        component="collector",
        command=(str(program), "--config", str(config_path("gateway"))),
        environment={
            "KAIZEN_OTEL_BIND": LOOPBACK,
            "KAIZEN_OTEL_GRPC_PORT": str(ports.otlp_grpc),
            "KAIZEN_OTEL_HTTP_PORT": str(ports.otlp_http),
            "KAIZEN_OTEL_AUDIT_PORT": str(ports.audit),
            "KAIZEN_OTEL_HEALTH_PORT": str(ports.collector_health),
            "KAIZEN_OTEL_METRICS_PORT": str(ports.collector_metrics),
            "KAIZEN_OTEL_QUEUE_DIR": str(directory / "queue"),
            "KAIZEN_OTEL_AUDIT_DIR": str(audit_folder(directory)),
            "KAIZEN_OTEL_DEAD_LETTER_DIR": str(directory / "dead-letter"),
            "JAEGER_OTLP_ENDPOINT": f"{LOOPBACK}:{ports.jaeger_otlp_grpc}",
            "PROMETHEUS_REMOTE_WRITE_ENDPOINT": (
                f"http://{LOOPBACK}:{ports.prometheus}/api/v1/write"
            ),
            "ELASTICSEARCH_ENDPOINT": f"http://{LOOPBACK}:{ports.elasticsearch}",
        },
        working_directory=directory,
        ports={
            "otlp_grpc": ports.otlp_grpc,
            "otlp_http": ports.otlp_http,
            "audit": ports.audit,
            "collector_health": ports.collector_health,
            "collector_metrics": ports.collector_metrics,
        },
        ready_url=f"http://{LOOPBACK}:{ports.collector_health}/",
        url=base,
        note=f"OTLP/HTTP; gRPC on {ports.otlp_grpc}, audit on {ports.audit}",
    )
