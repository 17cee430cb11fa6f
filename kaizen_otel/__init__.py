"""Observability for AI agents that emits only OTLP.

Importing this package loads nothing else; each name is loaded when it is first used::

    import kaizen_otel
    observability = kaizen_otel.enable_observability(agent)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kaizen_otel._version import __version__

if TYPE_CHECKING:
    from kaizen_otel.audit_trail import AuditTrailManager
    from kaizen_otel.config import Config
    from kaizen_otel.errors import KaizenOtelError
    from kaizen_otel.hook_types import HookContext, HookEvent, HookResult
    from kaizen_otel.hooks import HookManager, TracingHook
    from kaizen_otel.integrations.decorators import traced_agent, traced_tool
    from kaizen_otel.integrations.kaizen import enable_observability
    from kaizen_otel.logs import LoggingManager
    from kaizen_otel.metrics import MetricsManager
    from kaizen_otel.observability import ObservabilityManager, observe
    from kaizen_otel.providers import span_processor, tracer_provider
    from kaizen_otel.tracing import TracingManager

_HOME = {
    "AuditTrailManager": "audit_trail",
    "Config": "config",
    "HookContext": "hook_types",
    "HookEvent": "hook_types",
    "HookManager": "hooks",
    "HookResult": "hook_types",
    "KaizenOtelError": "errors",
    "LoggingManager": "logs",
    "MetricsManager": "metrics",
    "ObservabilityManager": "observability",
    "TracingHook": "hooks",
    "TracingManager": "tracing",
    "enable_observability": "integrations.kaizen",
    "observe": "observability",
    "span_processor": "providers",
    "traced_agent": "integrations.decorators",
    "traced_tool": "integrations.decorators",
    "tracer_provider": "providers",
}

__all__ = [
    "AuditTrailManager",
    "Config",
    "HookContext",
    "HookEvent",
    "HookManager",
    "HookResult",
    "KaizenOtelError",
    "LoggingManager",
    "MetricsManager",
    "ObservabilityManager",
    "TracingHook",
    "TracingManager",
    "__version__",
    "enable_observability",
    "observe",
    "span_processor",
    "traced_agent",
    "traced_tool",
    "tracer_provider",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'kaizen_otel' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"kaizen_otel.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
