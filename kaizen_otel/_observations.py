"""What observed calls leave behind, and the thread that derives all signals from it.

A call leaves one small value and goes on.  Spans, measurements, log records and audit records are
derived from the values later, in the order in which they were left, by whoever has the turn: a
thread of our own, a flush, or, when more bytes wait than may, the caller itself.  So nothing is
dropped here.  Until a value is derived the ledger counts what it will become as buffered.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from kaizen_otel._export.worker import WakeUp
from kaizen_otel._otlp.common import DEPTH_MAX, NODES_MAX, TOO_DEEP, TOO_MANY, safe_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._export import Signal
    from kaizen_otel._export.ledger import Ledger

BYTES_MAX: Final = 4 * 1024 * 1024
# What CPython needs for one value with its share of span and dictionaries: tracemalloc says 1,001.
VALUE_BYTES: Final = 1024
# An active thread sleeps that long at a time: every wake-up costs the interpreter a switch.
_GATHER_S: Final = 0.02
# Between two slices, so that whoever waits for the interpreter gets it.
_PAUSE_S: Final = 0.0001
# Short while little waits, for then the event loop has pauses; longer under load, for then each
# hand-over of the interpreter delays a call.
_SLICE_MIN: Final = 16
_SLICE_MAX: Final = 256
_SLICES: Final = 8


class Observation(NamedTuple):
    """A value and what is derived from it.

    ``derive`` makes measurements and audit records, ``send`` then hands over ``spans`` spans and
    ``logs`` log records.  ``size_bytes`` is about what it needs.
    """

    derive: Callable[[Any], object]
    send: Callable[[Any], object]
    value: object
    size_bytes: int
    spans: int
    logs: int


class Observations:
    """Bounded by ``bytes_max``; derived in order, each exactly once.

    ``failed`` is told of a fault of ours.  All methods may be called from any thread, also by a
    signal handler or a finaliser on a thread that is inside one.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        failed: Callable[[BaseException], object],
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._ledger = ledger
        self._failed = failed
        self._bytes_max = bytes_max
        self._is_closed = False
        self._reset()
        ledger.count_pending_by(self.pending)

    def after_fork(self) -> None:
        """Start empty in a forked child: what waits is the parent's to derive."""
        self._reset()

    def _reset(self) -> None:
        self._entries: deque[Observation] = deque()
        self._bytes_used = self._spans = self._logs = 0
        self._lock = threading.RLock()
        self._turn = threading.RLock()
        self._is_deriving = False
        self._is_awake = False
        self._wake = WakeUp()
        self._pause = WakeUp()
        self._thread: threading.Thread | None = None

    def pending(self, signal: Signal) -> int:
        """How many spans or log records will be derived from what waits."""
        if signal == "traces":
            return self._spans
        return self._logs if signal == "logs" else 0

    def put(self, observation: Observation) -> None:
        """Take one value.  Whoever finds no room derives some of what waits first."""
        with self._lock:
            self._entries.append(observation)
            used = self._bytes_used = self._bytes_used + observation[3]
            self._spans += observation[4]
            self._logs += observation[5]
        if self._is_closed:
            self.drain()
        elif used > self._bytes_max:
            self._derive(_SLICE_MIN)
        elif not self._is_awake:
            self._start()

    def drain(self) -> None:
        """Derive everything that waits."""
        # At least once: another thread may have taken the last value and be at work on it.
        while self._derive(_SLICE_MAX):
            if not self._entries:
                break

    def close(self) -> None:
        """Derive everything, and what comes from now on at once."""
        self._is_closed = True
        self._wake.set()
        self._pause.set()
        self.drain()

    def lost(self, signal: Signal) -> None:
        """Count an item that could not be made."""
        with self._ledger.lock:
            self._ledger.offered(signal, 1)
            self._ledger.refused(signal, "internal_error", 1)

    def _start(self) -> None:
        with self._lock:
            if self._is_awake:
                return
            self._is_awake = True
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="kaizen-otel-hooks", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # Python 3.12+: the interpreter ends
                    self._is_awake = False
                else:
                    self._thread = thread
        if self._is_awake:
            self._wake.set()
        else:
            self.drain()

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            while self._is_busy():
                self._pause.wait(_GATHER_S)
                while count := len(self._entries):
                    self._derive(min(max(count // _SLICES, _SLICE_MIN), _SLICE_MAX))
                    self._pause.wait(_PAUSE_S)

    def _is_busy(self) -> bool:
        """Whether anything waits; if not, who puts something next wakes the thread."""
        with self._lock:
            if self._is_closed or not self._entries:
                self._is_awake = False
            return self._is_awake

    def _derive(self, count: int) -> bool:
        """Derive up to ``count`` of the oldest values; False inside of another turn's work."""
        with self._turn:
            # A finaliser of the user's may come here while this thread derives: later.
            if self._is_deriving:
                return False
            self._is_deriving = True
            try:
                for _ in range(count):
                    if not self._entries:
                        break
                    self._derive_one(self._entries.popleft())
            finally:
                self._is_deriving = False
        return True

    def _derive_one(self, observation: Observation) -> None:
        derive, send, value, size_bytes, spans, logs = observation
        try:
            derive(value)
        except Exception as error:  # noqa: BLE001 - ours is counted and reported, never raised
            self._failed(error)
        # In one step for whoever reads the ledger: no longer pending, but offered.
        with self._ledger.lock:
            try:
                send(value)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(error)
            finally:
                with self._lock:
                    self._bytes_used -= size_bytes
                    self._spans -= spans
                    self._logs -= logs


def capture(attributes: dict[str, object]) -> int:
    """Replace in place every value that could change or run code of the user's when it is read.

    Returns how many bytes of text there are beyond short ones.
    """
    size = 0
    changed: dict[str, object] | None = None
    for key, value in attributes.items():
        if type(value) is str:
            size += len(value)
        elif not _is_plain(value):
            changed = changed or {}
            changed[key] = frozen(value)
    if changed:
        attributes.update(changed)
        size += len(changed) * VALUE_BYTES
    return size


def frozen(value: object) -> object:
    """Return what the encoder would make of a value now, as plain values that nobody else has."""
    return value if _is_plain(value) else _frozen(value, DEPTH_MAX, [NODES_MAX])


def _is_plain(value: object) -> bool:
    # Not by a set: a class of the user's may have a metaclass whose hash raises.
    kind = type(value)
    return (
        kind is str
        or kind is int
        or kind is float
        or kind is bool
        or value is None
        or kind is bytes
    )


def _frozen(value: object, depth: int, nodes_left: list[int]) -> object:
    nodes_left[0] -= 1
    if _is_plain(value):
        return value
    try:
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, int):
            return int.__index__(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(cast("bytes", value))
        if isinstance(value, (Mapping, Sequence)):
            return _frozen_nested(cast("Sequence[object]", value), depth, nodes_left)
    except Exception:  # noqa: BLE001, S110 - the value's own code raised; telemetry must not
        pass
    return safe_text(cast("Any", value))


def _frozen_nested(
    value: Mapping[object, object] | Sequence[object], depth: int, nodes_left: list[int]
) -> object:
    if depth == 0:
        return TOO_DEEP
    if isinstance(value, Mapping):
        named: dict[str, object] = {}
        for key, item in value.items():
            if nodes_left[0] <= 0:
                named[TOO_MANY] = None
                break
            name = key if type(key) is str else safe_text(key)
            named[name] = _frozen(item, depth - 1, nodes_left)
        return named
    items: list[object] = []
    for item in value:
        if nodes_left[0] <= 0:
            items.append(TOO_MANY)
            break
        items.append(_frozen(item, depth - 1, nodes_left))
    return items
