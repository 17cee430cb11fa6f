"""The audit trail of one process: protect -> number -> spool -> acknowledge -> deliver.

A record is *durable* when it survives a power loss of this machine and *delivered* when the
Collector's audit receiver has taken it.  Nothing is lost silently: what cannot be stored is
counted as refused on the spot, and a gap record says so in the trail once one can be written.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv
from kaizen_otel._audit_intake import Intake
from kaizen_otel._edges import OsFilesystem, SystemClock, shared_ids
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._resource import resource_attributes
from kaizen_otel._spool.waiting import Query, Waitable, until_done
from kaizen_otel._subject_keys import SubjectKeys
from kaizen_otel._subjects import open_subjects
from kaizen_otel._warn import RateLimitedWarnings
from kaizen_otel.audit import record as names
from kaizen_otel.audit._content import NO_PARTS, PREFIX, code_or_pseudonym
from kaizen_otel.audit._public import code_or_none
from kaizen_otel.audit._stored import read_stored
from kaizen_otel.audit._templates import Envelope, protected_record
from kaizen_otel.audit.chain import draft_of
from kaizen_otel.audit.query import AuditEntry, Filter, audit_entry, select
from kaizen_otel.audit.status import AuditStatus
from kaizen_otel.audit.subjects import user_of
from kaizen_otel.config import Config
from kaizen_otel.errors import AuditUnavailableError, KaizenOtelError, SpoolError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Generator, Mapping
    from concurrent.futures import Future

    from kaizen_otel._edges import Clock, Filesystem, Ids
    from kaizen_otel._export import Transport
    from kaizen_otel._signing import Signer
    from kaizen_otel.config import AuditConfig

__all__ = ["AuditEntry", "AuditStatus", "AuditTrailManager", "Receipt", "SubjectKeys"]

_TRACE_ID_SIZE: Final = 16
_SPAN_ID_SIZE: Final = 8
_QUERY_SETTLE_MS: Final = 1_000


class Receipt(Waitable[bool]):
    """What became of one record: ``receipt.wait()`` or ``await receipt``.

    True when the record is as safe as ``durability`` asks for, False if it was refused; then
    ``reason`` says why.  With ``on_failure=block_action`` a receipt of ``record()`` raises
    ``AuditUnavailableError`` instead, so that it cannot be overlooked.
    """

    def __init__(self, record_id: str, future: Future[int], *, is_strict: bool = False) -> None:
        self.record_id = record_id
        self._future = future
        self._is_strict = is_strict

    @property
    def is_done(self) -> bool:
        """Whether it is decided; never blocks."""
        return self._future.done()

    @property
    def reason(self) -> str:
        """Why the record was refused; empty if it was not, or not yet."""
        error = self._future.exception() if self._future.done() else None
        return "" if error is None else str(error)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until it is decided, at most ``timeout_s`` seconds; then it counts as refused."""
        try:
            self._future.result(timeout_s)
        except Exception as error:  # noqa: BLE001 - every kind of refusal has the same answer
            return self._refuse(error)
        return True

    async def wait_async(self, timeout_s: float) -> bool:
        """Do as ``wait`` does without blocking an asyncio loop; on another one it blocks."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wrap_future(self._future)
        except RuntimeError:  # no asyncio loop
            return self.wait(timeout_s)
        except Exception as error:  # noqa: BLE001 - every kind of refusal has the same answer
            return self._refuse(error)
        return True

    def __await__(self) -> Generator[object, None, bool]:
        """Wait without blocking an asyncio loop; on another one it blocks."""
        yield from until_done(self._future)
        return self.wait()

    async def _wait_async(self) -> bool:
        return await self

    def _refuse(self, error: Exception) -> bool:
        if self._is_strict:
            text = str(error) or "the record is not durable within the time given"
            raise AuditUnavailableError(
                f"the action is refused, its audit record could not be made durable: {text}"
            ) from error
        return False


class AuditTrailManager:
    """Writes audit records and finds them again; usable from sync code, threads, any event loop.

    Every argument is optional: ``config`` comes from the environment, ``directory`` from it,
    ``transport`` leads to its endpoint.  ``resource`` is an encoded OTLP Resource or a function
    that makes one (called again in a forked child).  ``signer`` signs instead of the key that
    KAIZEN_OTEL_SIGNING_KEY names: an object with ``key_id``, ``public_key`` and ``sign``, whose key
    may be in a key store elsewhere.  It is called by the thread that writes, once per group commit,
    and every record waits for it.  ``anchor`` takes each signed checkpoint as an encoded LogRecord,
    and must not block.  ``subject_keys`` stores the keys of the users in the records, instead of
    the directory that KAIZEN_OTEL_SUBJECT_KEYS names.  Opens nothing before the first record.
    Raises ``PlatformError`` on Windows.
    """

    def __init__(
        self,
        *,
        directory: str | None = None,
        config: Config | AuditConfig | None = None,
        transport: Transport | None = None,
        resource: bytes | Callable[[], bytes] | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        filesystem: Filesystem | None = None,
        warn: Callable[[str], None] | None = None,
        signer: Signer | None = None,
        anchor: Callable[[bytes], object] | None = None,
        subject_keys: SubjectKeys | None = None,
    ) -> None:
        whole = Config.from_environment() if config is None else config
        audit = whole.audit if isinstance(whole, Config) else whole
        self._directory = str(audit.directory) if directory is None else directory
        self._trail_directory = audit.trail_directory
        self._is_strict = audit.on_failure == "block_action"
        self._clock = clock or SystemClock()
        self._ids = ids or shared_ids()
        self._filesystem = filesystem or OsFilesystem()
        warn = warn or RateLimitedWarnings()
        self._subjects = open_subjects(
            audit,
            directory=self._directory,
            keys=subject_keys,
            filesystem=self._filesystem,
            clock=self._clock,
            warn=warn,
        )
        self._intake = Intake(
            self._directory,
            config=audit,
            transport=transport,
            resource=_resource_source(whole, resource),
            clock=self._clock,
            ids=self._ids,
            filesystem=self._filesystem,
            warn=warn,
            signer=signer,
            anchor=anchor,
        )

    def emit(
        self,
        event_name: str,
        attributes: Mapping[str, object],
        *,
        trace_id: bytes = b"",
        span_id: bytes = b"",
        resource: bytes = b"",
        time_ns: int = 0,
    ) -> Receipt:
        """Write one record.  Never raises and does not wait, except for room in ``wait`` mode.

        ``attributes`` that hold content become HMAC and size.  ``resource``
        is the encoded Resource of the service that acts, if it is not the process's.
        ``time_ns`` is when it happened (Unix epoch), if that is not now.
        """
        return Receipt(
            *self._put(event_name, attributes, trace_id, span_id, resource, time_ns=time_ns)
        )

    def record(
        self,
        agent_id: str,
        action: str,
        details: Mapping[str, object] | None,
        result: names.Result,
        user_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
        *,
        trace_id: bytes = b"",
        span_id: bytes = b"",
    ) -> Receipt:
        """Write one record with Kaizen's signature: ``await`` the receipt or ``.wait()`` for it.

        ``details``, ``metadata`` and ``user_id`` are content: the record holds their HMACs and
        sizes, and plain values of the keys in ``audit.PUBLIC_DETAILS``.
        """
        try:
            event_name, attributes, parts = _as_event(
                agent_id, action, details or {}, result, user_id, metadata or {}
            )
        except Exception as error:  # noqa: BLE001 - auditing must not break the agent
            future = self._intake.refuse(_without_content(error))
            return Receipt(self._ids.uuid7(), future, is_strict=self._is_strict)
        record_id, future = self._put(event_name, attributes, trace_id, span_id, b"", parts)
        return Receipt(record_id, future, is_strict=self._is_strict)

    def query_by_agent(self, agent_id: str) -> Query[list[AuditEntry]]:
        """Find the records of one agent."""
        return self._query(Filter(agent=agent_id))

    def query_by_action(self, action: str) -> Query[list[AuditEntry]]:
        """Find the records of one action."""
        pseudonym = code_or_pseudonym(action, self._intake.keys.pseudonyms)
        return self._query(Filter(action=pseudonym))

    def query_by_user(self, user_id: str) -> Query[list[AuditEntry]]:
        """Find the records of what one user did."""
        if user_id.startswith(PREFIX):
            return self._query(Filter(user=user_id), user_id=user_id)
        own = None if self._subjects is None else self._subjects.pseudonym(user_id)
        # Records from before subjects had keys have the pseudonym of the spool root's key.
        users = filter(None, (own, self.pseudonym(user_id)))
        return self._query(*(Filter(user=user) for user in users), user_id=user_id)

    def query_by_result(self, result: str) -> Query[list[AuditEntry]]:
        """Find the records with one result: success, failure or denied."""
        return self._query(Filter(result=result))

    def query_by_timerange(
        self, start_time: dt.datetime, end_time: dt.datetime
    ) -> Query[list[AuditEntry]]:
        """Find the records of a time range, both ends included."""
        since_ns, until_ns = _nanoseconds(start_time), _nanoseconds(end_time) + 999
        return self._query(Filter(since_ns=since_ns, until_ns=until_ns))

    def query_all(self) -> Query[list[AuditEntry]]:
        """Find all records but those that a stream writes about itself."""
        return self._query(Filter())

    def pseudonym(self, value: object) -> str:
        """Return what stands in the trail for a value, to compare."""
        return self._intake.keys.pseudonyms.of(value)

    def start(self) -> None:
        """Begin to ship what ended processes left in the spool, before the first own record."""
        self._intake.open()

    def flush(self, timeout_ms: int) -> bool:
        """Wait until everything emitted so far is delivered; False if time was up."""
        return self._intake.flush(timeout_ms)

    def rotate_key(self, signer: Signer) -> Receipt:
        """Sign this process's further records with another key.

        The old key signs a record that names the new one, and the new one proves in it that it is
        meant.  If that record cannot be stored the receipt is False, ``reason`` says why, and the
        old key signs on.  Other processes of this machine and later ones go on with theirs.
        """
        return Receipt("", self._intake.rotate_key(signer))

    def end(self, timeout_ms: int) -> bool:
        """Store what waits and end the stream; False if the disk took longer than that.

        Further records are refused.  What is stored is still delivered until ``shutdown``.
        """
        return self._intake.end(timeout_ms)

    def shutdown(self, timeout_ms: int) -> bool:
        """Store what waits, deliver what can be, then refuse every further record.

        True if everything was delivered.  What was not stays in the spool and is shipped by the
        next process on this machine.
        """
        return self._intake.shutdown(timeout_ms)

    def status(self) -> AuditStatus:
        """Return the counts of this process."""
        return self._intake.status()

    def _put(
        self,
        event_name: str,
        attributes: Mapping[str, object],
        trace_id: bytes,
        span_id: bytes,
        resource: bytes,
        parts: Mapping[str, Mapping[str, object]] = NO_PARTS,
        *,
        time_ns: int = 0,
    ) -> tuple[str, Future[int]]:
        record_id = self._ids.uuid7()
        intake = self._intake
        try:
            keys, now_ns = intake.keys, self._clock.time_ns()
            envelope = Envelope(
                record_id,
                time_ns or now_ns,
                max(time_ns, now_ns),
                # An id of another size belongs to no trace; the fact is recorded all the same.
                trace_id if len(trace_id) == _TRACE_ID_SIZE else b"",
                span_id if len(span_id) == _SPAN_ID_SIZE else b"",
                keys.resource_hash(resource),
            )
            user = None if self._subjects is None else user_of(attributes)
            if user is None and not parts:
                draft = keys.templates.draft(event_name, attributes, envelope)
                return record_id, intake.put(draft, resource)
            pseudonyms = keys.pseudonyms
            if self._subjects is not None and user is not None:
                pseudonyms = subject = self._subjects.pseudonyms(user, record_id)
                attributes = subject.identify(attributes)
            record = protected_record(event_name, attributes, envelope, pseudonyms, parts)
            return record_id, intake.put(draft_of(record), resource)
        except Exception as error:  # noqa: BLE001 - auditing must not break the agent
            return record_id, intake.refuse(_without_content(error))

    def _query(self, *asked: Filter, user_id: str | None = None) -> Query[list[AuditEntry]]:
        def ask() -> list[AuditEntry]:
            self._intake.settle(_QUERY_SETTLE_MS)
            trail = self._trail_directory
            folder = None if trail is None else str(trail)
            found = [
                record
                for one in asked
                for record in select(read_stored(self._filesystem, self._directory, folder), one)
            ]
            return [audit_entry(r, user_id) for r in found if r.event_name not in names.OWN_EVENTS]

        return Query(ask)


def _resource_source(
    config: Config | AuditConfig, given: bytes | Callable[[], bytes] | None
) -> Callable[[], bytes]:
    """Return what makes the process's Resource; without one given, from the environment."""
    if isinstance(given, bytes):
        return lambda: given
    if given is not None:
        return given
    whole = config if isinstance(config, Config) else Config.from_environment()
    return lambda: encode_resource(
        resource_attributes(
            whole.service_name or "kaizen-agent", str(uuid.uuid4()), whole.resource_attributes
        )
    )


def _as_event(
    agent_id: str,
    action: str,
    details: Mapping[str, object],
    result: names.Result,
    user_id: str | None,
    metadata: Mapping[str, object],
) -> tuple[str, dict[str, object], dict[str, Mapping[str, object]]]:
    """Return the event, the attributes and the free dictionaries of a record in Kaizen's shape."""
    event_name, verb = names.event_of_action(action)
    attributes: dict[str, object] = {
        semconv.GEN_AI_AGENT_ID: agent_id,
        names.CALLER_ACTION: action,
        names.ACTION: verb,
        names.PHASE: "outcome",
        **names.outcome_of_result(result),
    }
    tool = code_or_none(details.get("tool_name")) or code_or_none(details.get("tool"))
    if tool:
        attributes[semconv.GEN_AI_TOOL_NAME] = tool
    if user_id:
        attributes[names.ACTOR_ID] = user_id
        attributes[names.ACTOR_TYPE] = "user"
    return event_name, attributes, {"details": details, "metadata": metadata}


def _without_content(error: Exception) -> Exception:
    """Return an error to show: a foreign one may quote what the record was made of."""
    if isinstance(error, KaizenOtelError):
        return error
    return SpoolError(f"the record could not be made ({type(error).__name__}), NOT stored")


def _nanoseconds(moment: dt.datetime) -> int:
    """Return nanoseconds since the Unix epoch, exact to the microsecond."""
    return int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000
