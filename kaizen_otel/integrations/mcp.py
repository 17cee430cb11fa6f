"""Carry the trace over MCP: the client's current span is the parent of what the server observes.

The client puts ``traceparent``, ``tracestate`` and ``baggage`` into a request's ``params._meta``,
the server takes them up (SEP-414, and the conventions for MCP).  So it works over every transport
of the package ``mcp``, stdio included.  ``OTEL_PROPAGATORS`` chooses the format.  No span is made
here.

Stability: experimental.
"""

from __future__ import annotations

import functools
import importlib
import threading
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import propagate

from kaizen_otel.errors import NotEnabledError
from kaizen_otel.integrations._scopes import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

Value: TypeAlias = Any
"""A value of the package mcp, which is looked at and passed on."""

_lock: Final = threading.RLock()
_originals: list[tuple[Value, str, Callable[..., Value]]] = []


def install() -> None:
    """Have every MCP client and server of this process carry the trace.

    A second call does nothing.  Raises ``NotEnabledError`` if the package ``mcp`` is missing or of
    a version that is not known.
    """
    with _lock:
        if _originals:
            return
        wrappers = ((_session(), "send_request", _sending), (_server(), "_handle_request", _taking))
        for owner, name, _ in wrappers:
            if name not in vars(owner):
                raise NotEnabledError(
                    f"this version of the package mcp has no {owner.__name__}.{name}, no trace is "
                    "carried: use a version 1 from 1.20 on"
                )
        for owner, name, wrapper in wrappers:
            original: Value = getattr(owner, name)
            _originals.append((owner, name, original))
            setattr(owner, name, wrapper(original))


def uninstall() -> None:
    """Make the package ``mcp`` as it was.  A second call does nothing."""
    with _lock:
        while _originals:
            owner, name, original = _originals.pop()
            setattr(owner, name, original)


def installed() -> bool:
    """Whether MCP clients and servers of this process carry the trace."""
    return bool(_originals)


def _session() -> Value:
    return _load("mcp.shared.session").BaseSession


def _server() -> Value:
    return _load("mcp.server.lowlevel.server").Server


def _load(module: str) -> Value:
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise NotEnabledError(
            "the package mcp is not installed, no trace is carried: pip install mcp"
        ) from missing


def _sending(original: Callable[..., Value]) -> Callable[..., Value]:
    @functools.wraps(original)
    async def send_request(self: Value, request: Value, *args: Value, **kwargs: Value) -> Value:
        try:
            request = _with_context(request)
        except Exception as error:  # noqa: BLE001 - ours never hurts the host
            report(error)
        return await original(self, request, *args, **kwargs)

    return send_request


def _with_context(request: Value) -> Value:
    """Return the request, or a copy that says which span is the current one."""
    carrier: dict[str, Any] = {}
    propagate.inject(carrier)
    params: Value = getattr(request.root, "params", None)
    if not carrier or params is None:
        return request
    if params.meta is not None:  # what the caller put there himself stays
        carrier.update(params.meta.model_dump(by_alias=True))
    meta: Value = params.__class__.Meta.model_validate(carrier)
    root = request.root.model_copy(update={"params": params.model_copy(update={"meta": meta})})
    return type(request)(root)


def _taking(original: Callable[..., Value]) -> Callable[..., Value]:
    @functools.wraps(original)
    async def _handle_request(self: Value, message: Value, *args: Value, **kwargs: Value) -> Value:
        context = _context_of(message)
        if context is None:
            return await original(self, message, *args, **kwargs)
        token = otel_context.attach(context)
        try:
            return await original(self, message, *args, **kwargs)
        finally:
            otel_context.detach(token)

    return _handle_request


def _context_of(message: Value) -> Context | None:
    """The context that the client sent along, if it did."""
    try:
        meta: Value = getattr(message, "request_meta", None)
        extra: dict[str, Any] = (meta.model_extra or {}) if meta is not None else {}
        carrier = {key: value for key, value in extra.items() if isinstance(value, str)}
        return propagate.extract(carrier) if carrier else None
    except Exception as error:  # noqa: BLE001 - ours never hurts the host
        report(error)
        return None
