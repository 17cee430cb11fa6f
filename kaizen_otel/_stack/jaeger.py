"""Jaeger v2 as a local process: traces in memory, its page and query API on one port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from kaizen_otel._stack.build import build_go, find_go_build, lacks_page, named_program, say
from kaizen_otel._stack.ports import LOOPBACK
from kaizen_otel._stack.processes import Launch
from kaizen_otel._stack.releases import cached_release, fetch_release, jaeger_release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kaizen_otel._collector.release import Release
    from kaizen_otel._stack.ports import StackPorts

BINARY_VARIABLE = "KAIZEN_OTEL_JAEGER"
TRACES_MAX = 100_000
_PACKAGE = "github.com/jaegertracing/jaeger/cmd/jaeger"


def obtain(
    *,
    cache: Path | None = None,
    progress: Callable[[str], None] = say,
    release: Release | None = None,
) -> Path:
    """The program: KAIZEN_OTEL_JAEGER, the cache, the official release, else a build.

    Raises SetupError saying what to install.
    """
    named = named_program(BINARY_VARIABLE)
    if named is not None:
        return named
    release = release or jaeger_release()
    return (
        cached_release(release, cache=cache)
        or find_go_build("jaeger", _PACKAGE, cache=cache)
        or fetch_release(release, cache=cache, progress=progress)
        or build_go("jaeger", _PACKAGE, cache=cache, progress=progress)
    )


def launch(program: Path, *, ports: StackPorts, directory: Path) -> Launch:
    """How to start Jaeger with its files in ``directory``."""
    used = {
        "jaeger_query": ports.jaeger_query,
        "jaeger_grpc": ports.jaeger_grpc,
        "jaeger_otlp_grpc": ports.jaeger_otlp_grpc,
        "jaeger_otlp_http": ports.jaeger_otlp_http,
        "jaeger_health": ports.jaeger_health,
    }
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "jaeger.yaml"
    config.write_text(yaml.safe_dump(configuration(ports), sort_keys=False), encoding="utf-8")
    return Launch(
        component="jaeger",
        command=(str(program), "--config", str(config)),
        environment={},
        working_directory=directory,
        ports=used,
        ready_url=f"http://{LOOPBACK}:{ports.jaeger_health}/status",
        url=f"http://{LOOPBACK}:{ports.jaeger_query}",
        note="query API; without a release no page" if lacks_page(program) else "",
    )


def configuration(ports: StackPorts, *, host: str = LOOPBACK) -> dict[str, Any]:
    """Jaeger's own configuration: OTLP in, memory storage, query out, its monitor on Prometheus."""
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query", "healthcheckv2"],
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}
            },
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "info"}},
        },
        "extensions": {
            "jaeger_storage": {
                "backends": {"memory": {"memory": {"max_traces": TRACES_MAX}}},
                # The monitor page reads what the gateway counts of spans (span_metrics); names
                # are those of the remote write exporter, hence normalized.
                "metric_backends": {
                    "prometheus": {
                        "prometheus": {
                            "endpoint": f"http://{LOOPBACK}:{ports.prometheus}",
                            "normalize_calls": True,
                            "normalize_duration": True,
                        }
                    }
                },
            },
            "jaeger_query": {
                "storage": {"traces": "memory", "metrics": "prometheus"},
                # Else Jaeger traces itself to port 4317, which is our Collector's.
                "enable_tracing": False,
                "http": {"endpoint": f"{host}:{ports.jaeger_query}"},
                "grpc": {"endpoint": f"{host}:{ports.jaeger_grpc}"},
            },
            "healthcheckv2": {
                "use_v2": True,
                "http": {"endpoint": f"{host}:{ports.jaeger_health}"},
            },
        },
        "receivers": {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f"{host}:{ports.jaeger_otlp_grpc}"},
                    "http": {"endpoint": f"{host}:{ports.jaeger_otlp_http}"},
                }
            }
        },
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
    }
