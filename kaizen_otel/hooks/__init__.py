"""Hooks: the manager, the built-in telemetry hook, and its value types."""

from kaizen_otel.hook_types import (
    Hook,
    HookContext,
    HookEvent,
    HookPriority,
    HookResult,
)
from kaizen_otel.hooks.manager import HookManager
from kaizen_otel.hooks.telemetry import TelemetryHook, TracingHook

__all__ = [
    "Hook",
    "HookContext",
    "HookEvent",
    "HookManager",
    "HookPriority",
    "HookResult",
    "TelemetryHook",
    "TracingHook",
]
