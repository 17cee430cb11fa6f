"""Observe Kaizen agents.

::

    from kaizen_otel.integrations import kaizen

    observability = kaizen.enable_observability(agent)

or once, so that ``agent.enable_observability()`` itself is ours::

    kaizen.install()

Nothing is touched by the import.  ``agent.cleanup()`` takes everything out again, and
``uninstall()`` gives Kaizen its own method back.

Stability: experimental.  Source: kailash-kaizen 2.46.1, as installed.
"""

from __future__ import annotations

import functools
import importlib
import threading
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel.errors import ConfigError
from kaizen_otel.integrations import require
from kaizen_otel.integrations._kaizen_agent import AgentObservation, observation_of
from kaizen_otel.integrations._kaizen_watch import Watch
from kaizen_otel.observability import ObservabilityManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kaizen_otel._pipeline import Pipeline
    from kaizen_otel.integrations._scopes import Value

_ARGUMENTS: Final = (
    "service_name", "enable_metrics", "enable_logging", "enable_tracing", "enable_audit",
    "jaeger_host", "jaeger_port", "events_to_trace", "console", "agent_name", "manager",
    "insecure", "pipeline",
)  # fmt: skip

_lock: Final = threading.Lock()
_kaizens_own: Callable[..., Any] | None = None


def enable_observability(
    agent: object,
    service_name: str | None = None,
    enable_metrics: bool = True,
    enable_logging: bool = True,
    enable_tracing: bool = True,
    enable_audit: bool = True,
    jaeger_host: str | None = None,
    jaeger_port: int | None = None,
    events_to_trace: Iterable[object] | None = None,
    *,
    console: bool = False,
    agent_name: str | None = None,
    manager: ObservabilityManager | None = None,
    insecure: bool = True,
    pipeline: Pipeline | None = None,
    **unknown: object,
) -> ObservabilityManager:
    """Observe one agent from now on, until its ``cleanup()``.

    The Resource is named ``service_name``, else ``OTEL_SERVICE_NAME``, else as the agent's class.
    ``jaeger_host`` or ``jaeger_port`` select OTLP over gRPC; without both,
    ``OTEL_EXPORTER_OTLP_*`` decide, else http/protobuf to localhost:4318.  ``events_to_trace``
    limits the spans to those of the named hook events (metrics, logs and audit go on).
    ``console`` prints the trace.  ``agent_name`` is ``gen_ai.agent.name``, else the class name.
    ``manager`` is one that you made and shut down yourself; the switches are then its own.

    A second call on the same agent replaces the first; nothing is recorded twice.

    Raises ``NotEnabledError`` if Kaizen is missing, too old or incomplete, and ``ConfigError``
    for an argument that cannot be used; the agent is then as it was.
    """
    require("kaizen")
    _refuse(agent, unknown, insecure=insecure)
    # Everything that can refuse comes before the first change.
    used = manager or ObservabilityManager(
        service_name,
        enable_metrics,
        enable_logging,
        enable_tracing,
        enable_audit,
        jaeger_host,
        jaeger_port,
        console=console,
        default_service_name=type(agent).__name__,
        pipeline=pipeline,
    )
    watch = Watch(agent, used, agent_name=agent_name, events_to_trace=events_to_trace)
    # Who made the manager or the pipeline shuts it down.
    owned = manager is None and pipeline is None
    with _lock:
        earlier = observation_of(agent)
        if earlier is not None:
            earlier.unwire()
        AgentObservation(watch, owns_manager=owned).enable()
    if earlier is not None:
        earlier.retire()
    return used


def disable_observability(agent: object, timeout: float = 2.0) -> bool:
    """Stop observing an agent; it is then as it was before.

    True if everything observed so far has arrived within ``timeout`` seconds.
    """
    found = observation_of(agent)
    return found.disable(timeout) if found is not None else True


def install() -> None:
    """Make ``agent.enable_observability(...)`` of all Kaizen agents ours.

    A second call does nothing.  Raises ``NotEnabledError`` as ``enable_observability`` does.
    """
    global _kaizens_own  # noqa: PLW0603 - one class, one original
    require("kaizen")
    base = _base_agent()
    with _lock:
        if installed():
            return
        _kaizens_own = base.__dict__["enable_observability"]
        base.enable_observability = _as_method


def uninstall() -> None:
    """Give Kaizen its own ``enable_observability`` back.  Agents stay as they are.

    A second call does nothing.
    """
    global _kaizens_own  # noqa: PLW0603 - one class, one original
    with _lock:
        if _kaizens_own is None or not installed():
            return
        _base_agent().enable_observability = _kaizens_own
        _kaizens_own = None


def installed() -> bool:
    """Whether ``agent.enable_observability()`` is ours (``kaizen-otel doctor`` asks)."""
    return _base_agent().__dict__.get("enable_observability") is _as_method


@functools.wraps(enable_observability)
def _as_method(self: object, *args: Value, **kwargs: Value) -> ObservabilityManager:
    return enable_observability(self, *args, **kwargs)


def _base_agent() -> Value:
    return importlib.import_module("kaizen.core.base_agent").BaseAgent


def _refuse(agent: object, unknown: dict[str, object], *, insecure: bool) -> None:
    """Raise ``ConfigError`` for what cannot be used."""
    if not isinstance(agent, _base_agent()):
        raise ConfigError(
            f"agent is a {type(agent).__name__}, not a Kaizen BaseAgent, and is not observed: "
            "decorate the functions of a home-made agent with kaizen_otel.traced_agent"
        )
    if not insecure:
        raise ConfigError(
            "insecure=False is not taken here, the agent is not observed: set "
            "OTEL_EXPORTER_OTLP_ENDPOINT=https://... (and OTEL_EXPORTER_OTLP_CERTIFICATE), and "
            "leave jaeger_host and jaeger_port out"
        )
    for name in unknown:
        import difflib

        near = difflib.get_close_matches(name, _ARGUMENTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use {', '.join(_ARGUMENTS)}"
        raise ConfigError(
            f"enable_observability has no argument {name!r}, the agent is not observed: {hint}"
        )
