"""Which key may sign which record: streams begin with one, rotations change it, trust decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kaizen_otel.audit import record as names
from kaizen_otel.audit.rotation import RotationError, read_rotation
from kaizen_otel.audit.signatures import PUBLIC_KEY_BYTES, decode_base64, key_id_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kaizen_otel.audit._finding import Finding
    from kaizen_otel.audit._seen import Seen
    from kaizen_otel.audit._stream import KeyUse, Stream
    from kaizen_otel.audit.trust import Trust


class _Change(NamedTuple):
    """From ``number`` on a stream's records are signed by ``key_id``."""

    number: int
    key_id: str


def published_key(seen: Seen) -> tuple[str, bytes] | None:
    """Return id and public key that a record publishes, if they belong together."""
    text = None if seen.attributes is None else seen.attributes.get(names.PUBLIC_KEY)
    public_key = decode_base64(text, PUBLIC_KEY_BYTES)
    if seen.attributes is None or public_key is None:
        return None
    key_id = key_id_of(public_key)
    return (key_id, public_key) if seen.attributes.get(names.KEY_ID) == key_id else None


class Authority:
    """Knows for every stream which key may sign which number, once all was seen.

    Without a trust file every key is believed that a stream begins with, for that stream only and
    for those whose keys follow from each other by proven rotations.
    """

    def __init__(
        self, streams: Collection[Stream], *, trust: Trust | None, keys: Mapping[str, bytes]
    ) -> None:
        """Work it out; ``keys`` are all public keys that are known, by id."""
        self._trust = trust
        self._keys = keys
        self._family: dict[str, str] = {}
        self._changes: dict[str, list[_Change]] = {}
        self._introduced: set[str] = set()
        self._rogue: dict[str, list[tuple[int, int]]] = {}
        self.findings: list[Finding] = []
        introductions: list[tuple[str, str, int]] = []
        for stream in streams:
            introductions += self._follow(stream)
        self._introduce(introductions)
        for stream in streams:
            self._judge(stream)

    def key_at(self, stream: Stream, number: int) -> str:
        """Return the id of the key that may sign a number, empty if none may."""
        found = ""
        for change in self._changes.get(stream.stream_id, ()):
            if change.number > number:
                break
            found = change.key_id
        return found

    def covers(self, stream: Stream, number: int) -> str:
        """Return the id of the authorised key whose good signature covers a record, or ''."""
        signer = stream.signer_of(number)
        return self.key_at(stream, signer) if signer and self._may(stream, signer) else ""

    def signed_to(self, stream: Stream) -> int:
        """Return the highest number with a good signature of an authorised key, 0 if none."""
        number = stream.signed_before(stream.slots.highest)
        while number and not self._may(stream, number):
            number = stream.signed_before(number - 1)
        return number

    def may_speak_for(self, key_id: str, stream: Stream | None) -> bool:
        """Whether what a key signed is believed about another stream.

        With a trust file every trusted key is; without one a key must be of the stream's own.
        """
        if self._trust is not None:
            return self.is_trusted(key_id)
        own = {} if stream is None else stream.key_uses
        return any(self._root(key_id) == self._root(other) for other in own)

    def is_trusted(self, key_id: str) -> bool:
        """Whether a key is in the trust file, or was introduced by one that is."""
        if self._trust is None:
            return key_id in self._keys
        return self._trust.find(key_id) is not None or key_id in self._introduced

    def _may(self, stream: Stream, number: int) -> bool:
        ranges = self._rogue.get(stream.stream_id, ())
        return not any(first <= number <= last for first, last in ranges)

    def _root(self, key_id: str) -> str:
        while key_id in self._family:
            key_id = self._family[key_id]
        return key_id

    def _follow(self, stream: Stream) -> list[tuple[str, str, int]]:
        """Follow a stream's rotations; return (old key, new key, time) of each good one."""
        current = _first_key(stream)
        changes = self._changes[stream.stream_id] = [_Change(1, current)]
        good: list[tuple[str, str, int]] = []
        for seen in stream.special(names.EVENT_KEY_ROTATED):
            assert seen.attributes is not None
            try:
                if seen.certificate != current or not stream.is_signed(seen.sequence):
                    raise RotationError("it is not signed by the key that the stream has")  # noqa: TRY301
                rotation = read_rotation(
                    seen.attributes, old_key_id=current, stream_id=stream.stream_id
                )
            except RotationError as error:
                text = f"the rotation to another key is not to be believed: {error}"
                where = stream.where_of(seen)
                self.findings.append(stream.finding("untrusted_key", seen.sequence, text, where))
                continue
            good.append((current, rotation.key_id, seen.time_ns))
            if self._root(rotation.key_id) != self._root(current):
                self._family[self._root(rotation.key_id)] = self._root(current)
            current = rotation.key_id
            changes.append(_Change(seen.sequence + 1, current))
        return good

    def _introduce(self, introductions: list[tuple[str, str, int]]) -> None:
        if self._trust is None:
            return
        is_done = False
        while not is_done:
            is_done = True
            for old, new, time_ns in introductions:
                listed = self._trust.find(old)
                may = old in self._introduced if listed is None else listed.is_valid_at(time_ns)
                if may and new not in self._introduced:
                    self._introduced.add(new)
                    is_done = False

    def _judge(self, stream: Stream) -> None:
        for key_id, use in stream.key_uses.items():
            found = self._misuse(stream, key_id, use)
            if found is not None:
                self._rogue.setdefault(stream.stream_id, []).append((use.first, use.last))
                self.findings.append(found)

    def _misuse(self, stream: Stream, key_id: str, use: KeyUse) -> Finding | None:
        for number, where in ((use.first, use.first_at), (use.last, use.last_at)):
            expected = self.key_at(stream, number)
            if key_id != expected:
                text = f"signed by key {key_id}, but the stream's key there is {expected or 'none'}"
                return stream.finding("untrusted_key", number, text, where)
        listed = None if self._trust is None else self._trust.find(key_id)
        if listed is not None:
            for time_ns, number, where in (
                (use.time_first_ns, use.first, use.first_at),
                (use.time_last_ns, use.last, use.last_at),
            ):
                if not listed.is_valid_at(time_ns):
                    text = f"signed by key {key_id} at a time when it was not to sign"
                    return stream.finding("untrusted_key", number, text, where)
            return None
        more = {"sequence_first": use.first, "sequence_last": use.last}
        if self._trust is not None:
            if key_id in self._introduced:
                return None
            text = f"signed by key {key_id}, which is not trusted"
            return stream.finding("untrusted_key", use.first, text, use.first_at, **more)
        if key_id not in self._keys:
            text = f"signed by key {key_id}, which is not known: no trust file, and not published"
            return stream.finding(
                "untrusted_key", use.first, text, use.first_at, severity="incomplete", **more
            )
        return None


def _first_key(stream: Stream) -> str:
    """Return the key that a stream began with: the one it says, else that which signed first."""
    for seen in stream.special(names.EVENT_STARTED):
        if seen.sequence == 1:
            published = published_key(seen)
            if published is not None:
                return published[0]
    uses = sorted(stream.key_uses.items(), key=lambda item: item[1].first)
    return uses[0][0] if uses else ""
