"""The records that a stream writes about itself: where it begins and ends, how far it has come.

``kaizen.audit.started`` is number 1 of every stream, ``kaizen.audit.checkpoint`` comes after 64
records, a second after a record that has none, and every minute of silence,
``kaizen.audit.stopped`` is the last one.  The spool's writer asks for them, so that they cost no
thread and no commit of their own while records come.  What is signed and durable of them is
handed to the anchors.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, cast

from kaizen_otel._spool.answer import Answer
from kaizen_otel.audit import record as names
from kaizen_otel.audit.chain import Chain, Signing, draft_of
from kaizen_otel.audit.record import AuditRecord
from kaizen_otel.audit.rotation import rotation_attributes
from kaizen_otel.audit.signatures import encode_base64
from kaizen_otel.errors import KaizenOtelError, SpoolFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized
    from concurrent.futures import Future

    from kaizen_otel._audit_anchors import Anchors
    from kaizen_otel._edges import Clock, Ids
    from kaizen_otel._signing import Signer
    from kaizen_otel._spool.spool import Spool
    from kaizen_otel.audit.chain import Draft
    from kaizen_otel.errors import SpoolError

_SECOND_NS: Final = 10**9
CHECKPOINT_RECORDS: Final = 64
CHECKPOINT_NS: Final = _SECOND_NS
HEARTBEAT_NS: Final = 60 * _SECOND_NS
_RETRY_NS: Final = _SECOND_NS
_WARN_INTERVAL_NS: Final = 60 * _SECOND_NS
_COMMITS_MAX: Final = 4096

Reason = Literal["count", "time", "heartbeat"]


class OwnRecords:
    """Chain, signature and own records of one stream.

    The spool's writer calls ``seal`` (as its ``Finish``) and everything that ``Framing`` asks
    for; ``rotate`` and the counts are for any thread.
    """

    def __init__(
        self,
        *,
        make_signer: Callable[[], Signer | None],
        resource_hash: Callable[[], str],
        anchors: Anchors,
        clock: Clock,
        ids: Ids,
        warn: Callable[[str], None],
        previous_stream_id: str = "",
    ) -> None:
        self.signer: Signer | None = None
        self.count = 0
        self.chain = Chain(None)
        self._make_signer = make_signer
        self._resource_hash = resource_hash
        self._anchors = anchors
        self._clock = clock
        self._ids = ids
        self._warn = warn
        self._previous_stream_id = previous_stream_id
        self._lock = threading.Lock()
        self._is_rotating = False
        # Of the commit that is being made.
        self._proposed = self._proposed_own = 0
        self._proposes_checkpoint = False
        self._sealed: list[bytes] = []
        self._last_sequence = 0
        # Of what is stored.
        self._uncovered = 0
        self._uncovered_since_ns: int | None = None
        self._checkpoint_ns: int | None = None
        self._retry_at_ns = 0
        self._sign_failures_told = 0
        self._sign_warned_ns: int | None = None
        self._commits: deque[tuple[int, int]] = deque()

    def seal(
        self, items: Sequence[Sized], *, stream_id: str, first_sequence: int
    ) -> Sequence[bytes]:
        """Give the records of one commit their places, link and sign them."""
        drafts = cast("Sequence[Draft]", items)
        sealed = self.chain.seal(drafts, stream_id=stream_id, first_sequence=first_sequence)
        self._last_sequence = first_sequence + len(sealed) - 1
        self._sealed = [
            data
            for draft, data in zip(drafts, sealed, strict=True)
            if draft.event_name in names.OWN_EVENTS
        ]
        return sealed

    def before(self) -> Sequence[Sized]:
        """Return the record that begins the stream; the key is looked for now."""
        time_ns = self._clock.time_ns()
        if self.signer is None:
            self.signer = self._make_signer()
            if self.signer is not None:
                self.chain.signing = Signing(self.signer.key_id, self.signer.sign)
        attributes: dict[str, object] = {}
        if self.signer is not None:
            attributes[names.PUBLIC_KEY] = encode_base64(self.signer.public_key)
            attributes[names.KEY_ID] = self.signer.key_id
        if self._previous_stream_id:
            attributes[names.PREVIOUS_STREAM_ID] = self._previous_stream_id
        record = self._record(names.EVENT_STARTED, "START", attributes, time_ns=time_ns)
        # A key that signs on with itself: the record has a signature of its own.
        return [draft_of(record, signing_next=self.chain.signing)]

    def after(self, count: int, *, is_end: bool, has_room: bool) -> Sequence[Sized]:
        """Return what follows ``count`` records: a checkpoint if one is due, the end, or nothing.

        Without room for it a checkpoint is left for later.
        """
        self._proposed = count
        self._proposes_checkpoint = False
        now_ns = self._clock.monotonic_ns()
        if is_end:
            record = self._record(names.EVENT_STOPPED, "END", {})
        else:
            reason = self._checkpoint_reason(count, now_ns)
            if reason is None:
                return ()
            if not has_room:
                self._retry_at_ns = now_ns + _RETRY_NS
                return ()
            record = self._record(
                names.EVENT_CHECKPOINT, "WRITE", {names.CHECKPOINT_REASON: reason}
            )
        self._proposes_checkpoint = True
        return [draft_of(record)]

    def pause_s(self) -> float | None:
        """Return after how many seconds of silence ``after(0)`` is to be asked; None for never."""
        if self._checkpoint_ns is None:
            return None
        if self._uncovered_since_ns is not None:
            due_ns = self._uncovered_since_ns + CHECKPOINT_NS
        else:
            due_ns = self._checkpoint_ns + HEARTBEAT_NS
        due_ns = max(due_ns, self._retry_at_ns)
        return max(0, due_ns - self._clock.monotonic_ns()) / _SECOND_NS

    def committed(self, own_count: int, error: SpoolError | None) -> None:
        """Take note of a commit, of which ``own_count`` items came from ``before``, ``after``."""
        now_ns = self._clock.monotonic_ns()
        self._tell_sign_failures(now_ns)
        if error is not None:
            self._retry_at_ns = now_ns + _RETRY_NS
            return
        self.count += own_count
        if self._proposes_checkpoint:
            self._uncovered, self._uncovered_since_ns = 0, None
            self._checkpoint_ns = now_ns
        else:
            self._uncovered += self._proposed
            self._uncovered_since_ns = self._uncovered_since_ns or now_ns
            self._checkpoint_ns = self._checkpoint_ns or now_ns
        if len(self._commits) >= _COMMITS_MAX:
            # During a long outage the first one counts, which stays.
            self._commits = deque(list(self._commits)[::2])
        self._commits.append((self._last_sequence, self._clock.time_ns()))
        if self._sealed:
            self._anchors.take(self._sealed)

    def oldest_ns(self, sequence_next: int) -> int | None:
        """Return when the oldest record from ``sequence_next`` on became durable (Unix epoch)."""
        commits = self._commits
        while commits and commits[0][0] < sequence_next:
            commits.popleft()
        return commits[0][1] if commits else None

    def rotate(self, signer: Signer, spool: Spool) -> Future[int]:
        """Write the record with which the stream changes to another key; the old one signs it.

        The future gives its number.  If it is refused the old key signs on.
        """
        stream = spool.stream
        answer: Answer[int] = Answer()
        if stream is None:
            # The new key's proof names the stream, which has no name before its first record.
            record = self._record(
                names.EVENT_CHECKPOINT, "WRITE", {names.CHECKPOINT_REASON: "heartbeat"}
            )
            opened = spool.append(draft_of(record), is_reserved=True, on_answer=self._count_answer)
            opened.add_done_callback(lambda done: self._rotate_opened(signer, spool, done, answer))
        else:
            self._rotate(signer, spool, stream.stream_id, answer)
        return answer

    def _rotate_opened(
        self, signer: Signer, spool: Spool, opened: Future[int], answer: Future[int]
    ) -> None:
        error, stream = opened.exception(), spool.stream
        if error is not None or stream is None:
            answer.set_exception(error or SpoolFailedError("the stream did not begin"))
        else:
            self._rotate(signer, spool, stream.stream_id, answer)

    def _rotate(self, signer: Signer, spool: Spool, stream_id: str, answer: Future[int]) -> None:
        with self._lock:
            is_refused, self._is_rotating = self._is_rotating, True
        old, old_signer = self.chain.signing, self.signer
        if is_refused or old is None:
            why = "another change is under way" if is_refused else "this stream is not signed"
            self._is_rotating = is_refused
            answer.set_exception(SpoolFailedError(f"the signing key was NOT changed: {why}"))
            return

        def on_answer(error: SpoolError | None, count: int) -> None:
            now = self.chain.signing
            if error is None and now is not None and now.key_id == signer.key_id:
                self.signer = signer
            else:
                self.chain.signing, self.signer = old, old_signer
            self._count_answer(error, count)
            self._is_rotating = False

        try:
            attributes = rotation_attributes(
                public_key=signer.public_key,
                sign=signer.sign,
                old_key_id=old.key_id,
                stream_id=stream_id,
            )
            record = self._record(names.EVENT_KEY_ROTATED, "WRITE", {**attributes})
            draft = draft_of(record, signing_next=Signing(signer.key_id, signer.sign))
        except Exception as error:  # noqa: BLE001 - the user's key store may raise anything
            self._is_rotating = False
            answer.set_exception(
                KaizenOtelError(f"the signing key was NOT changed, the old one signs on: {error}")
            )
            return
        stored = spool.append(draft, is_reserved=True, on_answer=on_answer)
        stored.add_done_callback(lambda done: self._rotated(signer, done, answer))

    def _rotated(self, signer: Signer, done: Future[int], answer: Future[int]) -> None:
        error: BaseException | None = done.exception()
        if error is None and self.signer is not signer:
            error = KaizenOtelError(
                "the signing key was NOT changed, the old one signs on: it did not sign the record "
                f"that names the new one ({self.chain.failure})"
            )
        if error is None:
            answer.set_result(done.result())
        else:
            answer.set_exception(error)

    def _count_answer(self, error: SpoolError | None, count: int) -> None:
        if error is None:
            self.count += count

    def _checkpoint_reason(self, count: int, now_ns: int) -> Reason | None:
        if self._uncovered + count >= CHECKPOINT_RECORDS:
            return "count"
        if not count and now_ns < self._retry_at_ns:
            return None
        since_ns = self._uncovered_since_ns
        if since_ns is not None:
            return "time" if now_ns - since_ns >= CHECKPOINT_NS else None
        if count or self._checkpoint_ns is None:
            return None
        return "heartbeat" if now_ns - self._checkpoint_ns >= HEARTBEAT_NS else None

    def _tell_sign_failures(self, now_ns: int) -> None:
        chain, last_ns = self.chain, self._sign_warned_ns
        if chain.sign_failures == self._sign_failures_told:
            return
        if last_ns is None or now_ns - last_ns >= _WARN_INTERVAL_NS:
            self._sign_warned_ns = now_ns
            self._sign_failures_told = chain.sign_failures
            self._warn(
                f"audit records are stored UNSIGNED, {chain.sign_failures} signatures failed so "
                f"far ({chain.failure}): mend the key store of the signer"
            )

    def _record(
        self, event_name: str, action: str, attributes: dict[str, object], *, time_ns: int = 0
    ) -> AuditRecord:
        return AuditRecord(
            record_id=self._ids.uuid7(),
            time_ns=time_ns or self._clock.time_ns(),
            event_name=event_name,
            resource_hash=self._resource_hash(),
            attributes={
                names.ACTION: action,
                names.OUTCOME: "success",
                names.ACTOR_ID: "kaizen-otel",
                names.ACTOR_TYPE: "system",
                **attributes,
            },
        )
