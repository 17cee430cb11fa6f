"""What compose.yaml is made of, as the command line speaks of it: components, ports, states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kaizen_otel._stack import room
from kaizen_otel._stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kaizen_otel._stack.compose_state import RunningProject

#: Component -> its services: itself, and what makes it complete.
SERVICES: Mapping[str, tuple[str, ...]] = {
    "jaeger": ("jaeger",),
    "prometheus": ("prometheus",),
    "elasticsearch": ("elasticsearch",),
    "grafana": ("grafana",),
    "kibana": ("kibana", "kibana-setup"),
    "collector": ("collector", "collector-health"),
}
COMPONENTS = tuple(SERVICES)
#: What Compose starts with a component, because it does not work without.
REQUIRES: Mapping[str, tuple[str, ...]] = {
    "collector": ("jaeger", "prometheus", "elasticsearch"),
    "grafana": ("prometheus",),
    "kibana": ("elasticsearch",),
}
#: Port -> the variable of compose.yaml that it is set by.
PORT_VARIABLES: Mapping[str, str] = {
    "otlp_grpc": "KAIZEN_OTEL_GRPC_PORT",
    "otlp_http": "KAIZEN_OTEL_HTTP_PORT",
    "audit": "KAIZEN_OTEL_AUDIT_PORT",
    "jaeger_query": "KAIZEN_OTEL_JAEGER_PORT",
    "prometheus": "KAIZEN_OTEL_PROMETHEUS_PORT",
    "grafana": "KAIZEN_OTEL_GRAFANA_PORT",
    "elasticsearch": "KAIZEN_OTEL_ELASTICSEARCH_PORT",
    "kibana": "KAIZEN_OTEL_KIBANA_PORT",
}
#: Which component's ports these are.
PORTS_OF: Mapping[str, tuple[str, ...]] = {
    "collector": ("otlp_grpc", "otlp_http", "audit"),
    "jaeger": ("jaeger_query",),
    "prometheus": ("prometheus",),
    "grafana": ("grafana",),
    "elasticsearch": ("elasticsearch",),
    "kibana": ("kibana",),
}
#: What a component wants to have free, if more than a quarter of a GiB.
MEMORY_MIN: Mapping[str, int] = {"elasticsearch": 1024 * room.MIB, "kibana": 1024 * room.MIB}


def with_required(components: Sequence[str]) -> tuple[str, ...]:
    """Components and what is started with them, in order."""
    wanted = {*components, *(name for each in components for name in REQUIRES.get(each, ()))}
    return tuple(name for name in COMPONENTS if name in wanted)


def urls(project: RunningProject) -> dict[str, str]:
    """Where what was started is reached, by purpose; ``grpc`` addresses are host:port."""
    scheme = "https" if "KAIZEN_OTEL_SECRETS" in project.variables else "http"
    found: dict[str, str] = {}
    for name in (each for component in project.components for each in PORTS_OF[component]):
        variable = PORT_VARIABLES[name]
        address = f"{LOOPBACK}:{project.variables[variable]}"
        purpose = "jaeger" if name == "jaeger_query" else name
        found[purpose] = address if name.endswith("grpc") else f"{scheme}://{address}"
    return found


def note(component: str, project: RunningProject) -> str:
    """What else there is to say of a component."""
    if component != "collector":
        return ""
    numbers = project.variables
    return (
        f"OTLP/HTTP; gRPC on {numbers['KAIZEN_OTEL_GRPC_PORT']}, audit on "
        f"{numbers['KAIZEN_OTEL_AUDIT_PORT']}"
    )


def word(containers: Sequence[Mapping[str, Any]]) -> str:
    """One word for a component of some containers, as `ComponentStatus` has it."""
    if not containers:
        return "stopped"
    ended = [item for item in containers if item["State"] in {"exited", "dead"}]
    if any(item["ExitCode"] != 0 for item in ended) or len(ended) == len(containers):
        return "ended"
    running = [item for item in containers if item not in ended]
    healthy = all(
        item["State"] == "running" and item["Health"] in {"", "healthy"} for item in running
    )
    return "ready" if healthy else "not answering"
