"""Stand-ins for a strategy, a memory, a policy, with chosen methods wrapped.

A stand-in passes every attribute and every operator on, reports the class of what it stands for
(``isinstance`` holds), equals it, and is copied and pickled as it.  It is not identical to it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel.integrations._scopes import Value

Interceptor: TypeAlias = "Callable[[Callable[..., Any]], Callable[..., Any]]"
"""Makes the replacement of one method from the method."""

_OWN: Final = frozenset(
    {
        "__class__", "__class_getitem__", "__copy__", "__deepcopy__", "__del__", "__delattr__",
        "__dict__", "__doc__", "__getattr__", "__getattribute__", "__getstate__", "__init__",
        "__init_subclass__", "__module__", "__new__", "__reduce__", "__reduce_ex__",
        "__setattr__", "__setstate__", "__sizeof__", "__slots__", "__subclasshook__",
        "__weakref__",
    }
)  # fmt: skip
"""Special names that a stand-in answers itself or that belong to the class."""

_lock: Final = threading.Lock()
_classes: Final[dict[type, type[StandIn]]] = {}
_CLASSES_MAX: Final = 256


class StandIn:
    """Base of all stand-ins; made by ``stand_in``."""

    __slots__ = ("_kaizen_otel_cache", "_kaizen_otel_inner", "_kaizen_otel_methods")

    _kaizen_otel_cache: dict[str, tuple[object, Callable[..., Any]]]
    _kaizen_otel_inner: Any
    _kaizen_otel_methods: Mapping[str, Interceptor]

    def __init__(
        self,
        inner: object,
        methods: Mapping[str, Interceptor],
    ) -> None:
        object.__setattr__(self, "_kaizen_otel_inner", inner)
        object.__setattr__(self, "_kaizen_otel_methods", methods)
        object.__setattr__(self, "_kaizen_otel_cache", {})

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The class of what this stands for, so that ``isinstance`` holds."""
        inner: object = self._kaizen_otel_inner
        return type(inner)

    def __getattr__(self, name: str) -> Value:
        value = getattr(self._kaizen_otel_inner, name)
        interceptor = self._kaizen_otel_methods.get(name)
        if interceptor is None or not callable(value):
            return value
        cached = self._kaizen_otel_cache.get(name)
        # Bound methods are made anew at each access and compare by object and function.
        if cached is not None and cached[0] == value:
            return cached[1]
        wrapped = interceptor(value)
        self._kaizen_otel_cache[name] = (value, wrapped)
        return wrapped

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._kaizen_otel_inner, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._kaizen_otel_inner, name)

    def __bool__(self) -> bool:
        return bool(self._kaizen_otel_inner)

    def __dir__(self) -> list[str]:
        return dir(self._kaizen_otel_inner)

    def __reduce_ex__(self, protocol: Value) -> Value:
        return self._kaizen_otel_inner.__reduce_ex__(protocol)

    def __copy__(self) -> Value:
        import copy

        return copy.copy(self._kaizen_otel_inner)

    def __deepcopy__(self, memo: dict[int, Any]) -> Value:
        import copy

        return copy.deepcopy(self._kaizen_otel_inner, memo)


def stand_in(
    inner: object,
    methods: Mapping[str, Interceptor],
) -> Value:
    """A stand-in for ``inner``: each named method it has is replaced by what the function makes."""
    return _class_for(type(inner))(inner, methods)


def is_stand_in(value: object) -> bool:
    """Whether the object is a stand-in of ours."""
    return issubclass(type(value), StandIn)


def stood_for(value: object) -> object:
    """The object behind a stand-in; anything else as it is."""
    if not is_stand_in(value):
        return value
    return object.__getattribute__(value, "_kaizen_otel_inner")


def _class_for(kind: type) -> type[StandIn]:
    """The stand-in class with the operators of ``kind``: Python looks those up on the class."""
    with _lock:
        found = _classes.get(kind)
        if found is not None:
            return found
        members: dict[str, Any] = {"__slots__": ()}
        for name in dir(kind):
            if not (name.startswith("__") and name.endswith("__")) or name in _OWN:
                continue
            if name in StandIn.__dict__:
                continue
            value = getattr(kind, name, None)
            if value is None:
                members[name] = None  # __hash__ of an unhashable class
            elif callable(value):
                members[name] = _forward(name)
        made = type(f"Observed{kind.__name__}", (StandIn,), members)
        if len(_classes) >= _CLASSES_MAX:
            _classes.clear()
        _classes[kind] = made
        return made


def _forward(name: str) -> Callable[..., Any]:
    def forward(self: StandIn, *args: Value, **kwargs: Value) -> Value:
        arguments = [stood_for(value) for value in args]
        return getattr(stood_for(self), name)(*arguments, **kwargs)

    forward.__name__ = name
    return forward
