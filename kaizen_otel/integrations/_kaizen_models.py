"""Model calls of Kaizen: the one place where classes are wrapped, because no hook exists.

What is wrapped is declared in ``WRAPPED``.  It is in place only while at least one agent is
observed, and a call outside an observed run passes straight through.  Calls to real providers go
through ``LlmClient`` and are recorded there, one span each; the mock provider and LangChain are
answered inside ``LLMAgentNode.run`` and are recorded there.
"""

from __future__ import annotations

import functools
import threading
import weakref
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kaizen_otel import semconv
from kaizen_otel.integrations import _kaizen_values as values
from kaizen_otel.integrations._calls import wrap
from kaizen_otel.integrations._on_import import forget_import, on_import
from kaizen_otel.integrations._scopes import begin, current_scope, report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from kaizen_otel.integrations._scopes import Scope, Value

    _Makers: TypeAlias = dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]

WRAPPED: Final = (
    ("kaizen.nodes.ai.llm_agent", "LLMAgentNode", "run"),
    ("kaizen.llm.client", "LlmClient", "__init__"),
    ("kaizen.llm.client", "LlmClient", "complete"),
    ("kaizen.llm.client", "LlmClient", "stream"),
    ("kaizen.llm.client", "LlmClient", "embed"),
)
"""Module, class and method of everything that is wrapped on a class, once the module is loaded."""

_ANSWERED_IN_NODE: Final = frozenset({"mock", "langchain"})


class _Wrapped(NamedTuple):
    owner: Any
    name: str
    original: object
    installed: object


class ModelCalls:
    """The class wraps, in place while somebody uses them."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may release an agent while another is enabled.
        self._lock = threading.RLock()
        self._users: set[object] = set()
        self._installed: list[_Wrapped] = []
        self._awaited: list[tuple[str, Callable[[Any], None]]] = []
        self.in_place = False
        # Kaizen runs a client's coroutine in a thread without the caller's context
        # (llm_agent.py:1432), but makes the client in the caller's.
        self._made_in: weakref.WeakKeyDictionary[object, Scope] = weakref.WeakKeyDictionary()

    def acquire(self) -> object:
        """Use the wraps; they are installed for the first user.  Returns what to release."""
        user = object()
        with self._lock:
            self._users.add(user)
            self._settle()
        return user

    def release(self, user: object) -> None:
        """Stop using the wraps; the last user's going restores the classes."""
        with self._lock:
            self._users.discard(user)
            self._settle()

    def _settle(self) -> None:
        if self._users and not self.in_place:
            self.in_place = True
            self._install()
        elif not self._users and self.in_place:
            self.in_place = False
            self._remove()

    def _install(self) -> None:
        makers: _Makers = {
            "run": lambda f: wrap(f, self._open_node, _close_node),
            "__init__": self._remember,
            "complete": lambda f: wrap(f, self._open_client, _close_client),
            "stream": lambda f: wrap(f, self._open_client, _close_client, _watch_chunk),
            "embed": lambda f: wrap(f, self._open_embedding, _close_client),
        }
        for module, places in groupby(WRAPPED, itemgetter(0)):
            use = functools.partial(self._wrap, list(places), makers)
            self._awaited.append((module, use))
            on_import(module, use)

    def _wrap(self, places: Sequence[tuple[str, str, str]], makers: _Makers, module: Any) -> None:  # noqa: ANN401 - Kaizen's
        with self._lock:
            if not self.in_place:
                return
            for _, class_name, name in places:
                try:
                    owner = getattr(module, class_name)
                    original = owner.__dict__[name]
                except (AttributeError, KeyError) as error:
                    report(error)  # another version of Kaizen: its model calls are not recorded
                    continue
                installed = makers[name](original)
                setattr(owner, name, installed)
                self._installed.append(_Wrapped(owner, name, original, installed))

    def _remove(self) -> None:
        awaited, self._awaited = self._awaited, []
        for module, use in awaited:
            forget_import(module, use)
        installed, self._installed = self._installed, []
        for wrapped in reversed(installed):
            # Somebody may have wrapped ours in turn: ours then stays, and passes through.
            if wrapped.owner.__dict__.get(wrapped.name) is wrapped.installed:
                setattr(wrapped.owner, wrapped.name, wrapped.original)

    def _remember(self, original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def init(client: object, *args: Value, **kwargs: Value) -> None:
            original(client, *args, **kwargs)
            scope = current_scope()
            if scope is not None and self._users:
                self._made_in[client] = scope

        return init

    def _outer(self, client: object) -> Scope | None:
        """The observed call around a client's call, or the one that made the client."""
        if not self._users:
            return None
        scope = current_scope()
        if scope is not None:
            return scope
        made_in = self._made_in.get(client)
        anchor = made_in.anchor if made_in is not None else None
        if made_in is None or anchor is None or not anchor.operations.is_open(anchor.key):
            return None
        return made_in

    def _open_node(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
        outer = current_scope()
        provider = str(kwargs.get("provider", "")).lower()
        if outer is None or not self._users or provider not in _ANSWERED_IN_NODE:
            return None
        attributes = {
            semconv.GEN_AI_PROVIDER_NAME: values.provider_name(provider),
            **values.request_attributes({**getattr(args[0], "config", {}), **kwargs}),
        }
        return begin(
            outer.operations,
            "chat",
            name=str(kwargs.get("model") or ""),
            attributes=attributes,
            owner=args[0],
        )

    def _open_client(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
        return self._open_call("chat", args, kwargs)

    def _open_embedding(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
        return self._open_call("embeddings", args, kwargs)

    def _open_call(
        self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Scope | None:
        client = args[0]
        outer = self._outer(client)
        # A stream that its deployment does not stream is answered by ``complete``.
        if outer is None or (outer.owner is client and outer.operation == operation):
            return None
        deployment = getattr(client, "deployment", None)
        model = kwargs.get("model") or getattr(deployment, "default_model", None)
        return begin(
            outer.operations,
            operation,
            name=str(model or ""),
            attributes={
                **values.deployment_attributes(deployment),
                **values.request_attributes(kwargs),
            },
            owner=client,
            outer=outer,
        )


def _close_node(scope: Scope, result: object, error: BaseException | None) -> None:
    scope.operations.end(
        scope.key, values.response_attributes(result), error or values.failure_of(result)
    )


def _close_client(scope: Scope, result: object, error: BaseException | None) -> None:
    found: dict[str, object] = scope.notes.get("response") or values.response_attributes(result)
    scope.operations.end(scope.key, found, error)


def _watch_chunk(scope: Scope, chunk: object) -> None:
    seconds = scope.span.duration_ns / 1e9
    first: dict[str, object] = {semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: seconds}
    found: dict[str, object] = scope.notes.setdefault("response", first)
    found.update(values.response_attributes(chunk))


model_calls: Final = ModelCalls()
"""The wraps of this process."""
