"""What happens between an encoded audit record and the spool: levels, refusals, gaps, forks.

The manager encodes and asks; this part appends, answers each record's future, keeps the counts,
and writes gap records.  Its locks are held for counting only, never while the disk works.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._audit_anchors import Anchors
from kaizen_otel._audit_keys import AuditKeys
from kaizen_otel._audit_own import OwnRecords
from kaizen_otel._audit_refusals import Refusals
from kaizen_otel._edges import at_fork
from kaizen_otel._resource import once_per_process
from kaizen_otel._spool.answer import Answer, failed_answer
from kaizen_otel._spool.store import Store, open_or_explain
from kaizen_otel.audit.status import AuditStatus
from kaizen_otel.errors import RecordTooLargeError, SpoolError, SpoolFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from kaizen_otel._edges import Clock, Filesystem, Ids
    from kaizen_otel._export import Transport
    from kaizen_otel._signing import Signer
    from kaizen_otel.audit.chain import Draft
    from kaizen_otel.config import AuditConfig

_MILLISECOND_NS: Final = 10**6
_RETRY_NS: Final = 250 * _MILLISECOND_NS
_NEVER_NS: Final = 3_600_000 * _MILLISECOND_NS
_EXIT_MS: Final = 2_000
WAITING_MAX: Final = 10_000
_SHUT_DOWN: Final = "the audit trail is shut down, record NOT stored"


class _Pending(NamedTuple):
    """A record and whom to tell what became of it."""

    data: Draft
    resource: bytes
    future: Future[int]


class Intake:
    """One process epoch's way into the spool.  Opens nothing before the first record."""

    def __init__(
        self,
        directory: str,
        *,
        config: AuditConfig,
        transport: Transport | None,
        resource: Callable[[], bytes],
        clock: Clock,
        ids: Ids,
        filesystem: Filesystem,
        warn: Callable[[str], None],
        signer: Signer | None = None,
        anchor: Callable[[bytes], object] | None = None,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._directory = directory
        self._config = config
        self._transport = transport
        self._resource = resource = once_per_process(resource)
        self._clock = clock
        self._ids = ids
        self._filesystem = filesystem
        self._warn = warn
        self._waiting_max = waiting_max
        self.keys = AuditKeys(
            directory,
            signer=signer,
            setting=config.signing_key,
            resource=resource,
            filesystem=filesystem,
            clock=clock,
            warn=warn,
        )
        self._anchor = anchor if config.anchors == "logs" else None
        self._is_delivered_level = config.durability == "delivered"
        self._is_waiting_mode = config.on_failure == "wait"
        # The same for all records, so that it is called once for many.
        self._on_answer = self._count_answers
        self._is_direct = not (self._is_delivered_level or self._is_waiting_mode)
        self._inherited: list[Store] = []
        self._reset()
        _intakes.add(self)

    def _reset(self, previous_stream_id: str = "") -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._store: Store | None = None
        self._anchors = Anchors(
            sink=self._anchor,
            path=self._config.anchor_file,
            resource=self._resource,
            filesystem=self._filesystem,
            clock=self._clock,
            warn=self._warn,
        )
        self._own = OwnRecords(
            make_signer=self.keys.signer,
            resource_hash=self.keys.resource_hash,
            anchors=self._anchors,
            clock=self._clock,
            ids=self._ids,
            warn=self._warn,
            previous_stream_id=previous_stream_id,
        )
        self._is_shut_down = self._is_released = False
        self._waiting: deque[_Pending] = deque()
        self._mend_at_ns = 0
        self._emitted = self._durable = 0
        self._refusals = Refusals(
            resource_hash=self.keys.resource_hash,
            clock=self._clock,
            ids=self._ids,
            warn=self._warn,
        )

    def put(self, data: Draft, resource: bytes) -> Future[int]:
        """Hand over one record; the future is answered when it is stored, delivered or refused.

        Waits for room if ``on_failure`` is ``wait`` and ``waiting_max`` records wait already.
        """
        if self._is_direct:
            return self._append_directly(data, resource)
        pending = _Pending(data, resource, Answer())
        with self._lock:
            self._emitted += 1
            while len(self._waiting) >= self._waiting_max and not self._is_shut_down:
                self._room.wait()
            # Who waits goes first.
            is_behind_others = bool(self._waiting) and not self._is_shut_down
            if is_behind_others:
                self._waiting.append(pending)
        if not is_behind_others:
            self._append(pending)
        return pending.future

    def refuse(self, error: Exception) -> Future[int]:
        """Count a record that could not even be encoded."""
        with self._lock:
            self._emitted += 1
        return self._refused_future(error)

    def open(self) -> Store | None:
        """Open spool and shipper, once; None after shutdown."""
        with self._lock:
            if self._store is None and not self._is_shut_down:
                config = self._config
                self._store = Store(
                    self._directory,
                    resource=self._resource(),
                    transport=self._transport
                    or open_or_explain(config.endpoint, clock=self._clock),
                    filesystem=self._filesystem,
                    clock=self._clock,
                    ids=self._ids,
                    bytes_max=config.bytes_max,
                    timeout_ms=config.endpoint.timeout_ms,
                    is_durable=config.durability != "none",
                    finish=self._own.seal,
                    framing=self._own,
                    warn=self._warn,
                    on_gap=self._refusals.report,
                    on_step=self._step,
                )
                self._anchors.wake = self._store.shipper.wake
                self._store.shipper.start()
            return self._store

    def settle(self, timeout_ms: int) -> bool:
        """Wait until everything put so far is stored or refused; False if time was up."""
        store = self._store
        return store is None or store.spool.flush(timeout_ms)

    def flush(self, timeout_ms: int) -> bool:
        """Wait until everything put so far is delivered; False if time was up."""
        store = self._store
        if store is None:
            return True
        self._mend()
        return store.flush(timeout_ms)

    def end(self, timeout_ms: int) -> bool:
        """Store what waits, end the stream, refuse what comes; False if the disk took too long."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            is_first, self._is_shut_down = not self._is_shut_down, True
            store = self._store
            self._room.notify_all()
        if store is None:
            return True
        for pending in waiting:
            self._append(pending)
        if is_first:
            self._refusals.write(store.spool)
        return store.spool.close(timeout_ms)

    def shutdown(self, timeout_ms: int, *, is_hurried: bool = False) -> bool:
        """Do what ``end`` does, then deliver what can be; True if all is delivered.

        ``is_hurried`` does not wait for a receiver that is known to take nothing.
        """
        with self._lock:
            if self._is_released:
                return True
            self._is_released = True
        deadline_ns = self._clock.monotonic_ns() + timeout_ms * _MILLISECOND_NS
        is_ended, store = self.end(timeout_ms), self._store
        if store is None:
            return True
        is_delivered = False
        if is_ended:
            is_in_vain = is_hurried and bool(store.shipper.status().failing_ns)
            left_ms = max(0, (deadline_ns - self._clock.monotonic_ns()) // _MILLISECOND_NS)
            is_delivered = store.shutdown(0 if is_in_vain else left_ms)
        self._anchors.write(is_last=True)
        return is_delivered

    def rotate_key(self, signer: Signer) -> Future[int]:
        """Change the key that signs this process's records; see ``OwnRecords.rotate``."""
        store = self._store or self.open()
        if store is None:
            return failed_answer(SpoolFailedError(_SHUT_DOWN))
        return self._own.rotate(signer, store.spool)

    def after_fork(self) -> None:
        """Begin anew in a forked child: records, numbers and locks are the parent's."""
        store = self._store
        if store is not None:
            store.abandon()
            # Kept: collecting it would close sockets that the parent uses.
            self._inherited.append(store)
        stream = None if store is None else store.spool.stream
        self.keys.keep_signer(self._own.signer)
        self.keys.after_fork()
        # A stream of which nothing was stored is not missed by anybody.
        self._reset(stream.stream_id if stream is not None and self._own.count else "")

    def status(self) -> AuditStatus:
        """Return the counts."""
        store, own = self._store, self._own
        shipped = None if store is None else store.shipper.status()
        stream = None if store is None else store.spool.stream
        oldest_ns = None if stream is None else own.oldest_ns(stream.cursor.sequence_next)
        signing = own.chain.signing
        # First, so that nothing is counted as refused that is not counted as emitted.
        refused, gaps = self._refusals.count, self._refusals.gaps_written
        with self._lock:
            delivered = 0 if shipped is None else shipped.delivered
            quarantined = 0 if shipped is None else shipped.quarantined
            stored = self._durable + gaps + own.count
            return AuditStatus(
                emitted=self._emitted,
                durable=self._durable,
                delivered=delivered,
                refused=refused,
                waiting=self._emitted - self._durable - refused,
                undelivered=max(0, stored - delivered - quarantined),
                quarantined=quarantined,
                gaps=gaps,
                own=own.count,
                refusals=self._refusals.by_reason(),
                sign_failures=own.chain.sign_failures,
                key_id="" if signing is None else signing.key_id,
                bytes_used=0 if store is None else store.spool.bytes_used,
                stream_id="" if stream is None else stream.stream_id,
                lag_ns=0 if oldest_ns is None else max(0, self._clock.time_ns() - oldest_ns),
                failing_ns=0 if shipped is None else shipped.failing_ns,
                failure="" if shipped is None else shipped.failure,
            )

    def _append_directly(self, data: Draft, resource: bytes) -> Future[int]:
        """The usual way: what the spool answers is the answer."""
        with self._lock:
            self._emitted += 1
        store = self._store or self.open()
        if store is None:
            return self._refused_future(SpoolFailedError(_SHUT_DOWN))

        return store.spool.append(data, resource=resource, on_answer=self._on_answer)

    def _count_answers(self, error: SpoolError | None, count: int) -> None:
        if error is None:
            with self._lock:
                self._durable += count
        else:
            self._count_refusal(error, count)

    def _append(self, pending: _Pending) -> None:
        # Shutdown keeps the store, whose spool refuses then with the right words.
        store = self._store or self.open()
        if store is None:
            self._refuse(pending, SpoolFailedError(_SHUT_DOWN))
            return
        answer = store.spool.append(pending.data, resource=pending.resource)
        answer.add_done_callback(lambda done: self._answered(store, pending, done))

    def _answered(self, store: Store, pending: _Pending, answer: Future[int]) -> None:
        error = answer.exception()
        if error is not None:
            self._failed(store, pending, error)
            return
        sequence = answer.result()
        with self._lock:
            self._durable += 1
        if self._is_delivered_level:
            delivery = store.shipper.when_delivered(sequence)
            delivery.add_done_callback(lambda done: _tell(pending, sequence, done))
        else:
            pending.future.set_result(sequence)

    def _failed(self, store: Store, pending: _Pending, error: BaseException) -> None:
        with self._lock:
            can_wait = self._is_waiting_mode and not self._is_shut_down
            if can_wait and not isinstance(error, RecordTooLargeError):
                self._waiting.append(pending)
                self._mend_at_ns = self._clock.monotonic_ns() + _RETRY_NS
                store.shipper.wake()
                return
        self._refuse(pending, error)

    def _refuse(self, pending: _Pending, error: BaseException) -> None:
        self._count_refusal(error)
        pending.future.set_exception(error)

    def _refused_future(self, error: BaseException) -> Future[int]:
        self._count_refusal(error)
        return failed_answer(error)

    def _count_refusal(self, error: BaseException, count: int = 1) -> None:
        self._refusals.refuse(error, count)
        store = self._store
        if store is not None:
            store.shipper.wake()

    def _step(self) -> int:
        """Do what the shipper's thread does besides; return when to be called next."""
        return min(self._mend(), self._anchors.write())

    def _mend(self) -> int:
        """Try waiting records and gap records again; return when to be called next."""
        store, now_ns = self._store, self._clock.monotonic_ns()
        if store is None:
            return _NEVER_NS
        with self._lock:
            if not self._waiting and not self._refusals:
                return _NEVER_NS
            if now_ns < self._mend_at_ns:
                return self._mend_at_ns - now_ns
            self._mend_at_ns = now_ns + _RETRY_NS
            waiting = list(self._waiting)
            self._waiting.clear()
            self._room.notify_all()
        for pending in waiting:
            self._append(pending)
        self._refusals.write(store.spool)
        return _RETRY_NS


def _tell(pending: _Pending, sequence: int, delivery: Future[bool]) -> None:
    if delivery.result():
        pending.future.set_result(sequence)
    else:
        pending.future.set_exception(
            SpoolError("the receiver refused the record; it is kept in the spool's quarantine")
        )


_intakes: weakref.WeakSet[Intake] = weakref.WeakSet()


def _each_after_fork() -> None:
    for intake in list(_intakes):
        intake.after_fork()


def _each_at_exit() -> None:
    for intake in list(_intakes):
        intake.shutdown(_EXIT_MS, is_hurried=True)


at_fork(_each_after_fork)
atexit.register(_each_at_exit)
