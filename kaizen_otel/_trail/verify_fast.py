"""Read lines as the Collector writes them without parsing JSON; leave all others to the strict way.

The Collector writes an audit record's attributes in the order in which the emitter sent them, which
is that of the canonical form.  So the text between ``"attributes":[`` and its end is what was
hashed, and a record's hash is that of pieces cut out of the line.  The patterns between which they
are cut cannot stand inside a JSON string, where every quote has a backslash before it.

What is cut out wrongly has a hash that nothing links to and nobody signed.  So all that is seen
here counts as soon as a good signature covers it; streams in which one does not cover everything
are read again strictly (``Verifier.suspects``).  A record of another shape, with a backslash in its
text, out of its turn, or of the trail's own events is read strictly at once.
"""

from __future__ import annotations

from binascii import a2b_base64, unhexlify
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._trail.verify_strict import DECODER, foreign_members
from kaizen_otel.audit import record as names
from kaizen_otel.audit._seen import SPECIAL_EVENTS
from kaizen_otel.audit.signatures import SIGNATURE_BYTES
from kaizen_otel.audit.verify import hash_of_resource

if TYPE_CHECKING:
    from kaizen_otel._otlp.decode import Json

# What a line is made of, in order.
_REQUEST: Final = b'{"resourceLogs":['
_SCOPE: Final = b'"scopeLogs":[{"scope":{},"logRecords":['
_TIME: Final = b'{"timeUnixNano":"'
_OBSERVED: Final = b'","observedTimeUnixNano":"'
_ATTRIBUTES: Final = b'","body":{},"attributes":['
_TRACE: Final = b'],"traceId":"'
_SPAN: Final = b'","spanId":"'
_EVENT: Final = b',"eventName":"'
_EVENT_ALONE: Final = b"]" + _EVENT
_EVENT_AFTER_IDS: Final = b'"' + _EVENT
_GROUP_END: Final = b"]}]}"
_REQUEST_END: Final = b"]}"
_COMMA: Final = ord(",")

# The attributes that a verifier needs, in order; some are found by a part of their name.
_CERTIFICATE_PART: Final = b'y.certificate","value":{"stringValue":"'
_ID: Final = b'{"key":"audit.record.id","value":{"stringValue":"'
_SCHEMA: Final = (
    b'"}},{"key":"audit.schema.version","value":{"stringValue":"'
    + names.SCHEMA_VERSION.encode()
    + b'"}},'
)
_END: Final = b'{"key":"audit.sequence.end","value":{"stringValue":"true"}},'
_NUMBER_PART: Final = b"sequence.number"
_NUMBER: Final = b'{"key":"audit.sequence.number","value":{"intValue":"'
_PREVIOUS: Final = b'"}},{"key":"audit.sequence.previous_hash","value":{"stringValue":"'
_STREAM: Final = b'"}},{"key":"audit.sequence.stream_id","value":{"stringValue":"'
_INTENT: Final = b'{"key":"kaizen.audit.intent_id","value":{"stringValue":"'
_IS_INTENT: Final = b'"}},{"key":"kaizen.audit.phase","value":{"stringValue":"intent"}},'
_IS_OUTCOME: Final = b'"}},{"key":"kaizen.audit.phase","value":{"stringValue":"outcome"}},'
_BOUND: Final = b'{"key":"kaizen.audit.resource_hash","value":{"stringValue":"%b"}}'
_BOUND_PART: Final = b"kaizen.audit.resource_hash"
_VALUE: Final = b',{"key":"audit.integrity.value","value":{"stringValue":"'
_CLOSE: Final = b'"}}'

_TIME_DIGITS: Final = 19
_TRACE_HEX: Final = 32
_SPAN_HEX: Final = 16
_IDS_SIZE: Final = len(_TRACE) + _TRACE_HEX + len(_SPAN) + _SPAN_HEX
_HASH_HEX: Final = 64
_UUID_SIZE: Final = 36
_NUMBER_DIGITS: Final = 20
_KEY_ID_HEX: Final = 32
_BASE64_SIZE: Final = 88
_VALUE_SIZE: Final = len(_VALUE) + _BASE64_SIZE + len(_CLOSE)
_RESOURCES_MAX: Final = 4096
_SPECIAL: Final = frozenset(name.encode() for name in SPECIAL_EVENTS)

# From one place in a record to another.
_TO_OBSERVED: Final = len(_TIME) + _TIME_DIGITS
_TO_ATTRIBUTES: Final = _TO_OBSERVED + len(_OBSERVED) + _TIME_DIGITS
_TO_FIRST: Final = _TO_ATTRIBUTES + len(_ATTRIBUTES)
_OBSERVED_AT: Final = _TO_OBSERVED + len(_OBSERVED)
_NUMBER_BACK: Final = _NUMBER.index(_NUMBER_PART)
_BOUND_BACK: Final = _BOUND.index(_BOUND_PART)
_ID_BACK: Final = len(_ID) + _UUID_SIZE
# Calls to len() would be a tenth of the time.
_CERTIFICATE_PART_LEN: Final = len(_CERTIFICATE_PART)
_CLOSE_LEN: Final = len(_CLOSE)
_END_LEN: Final = len(_END)
_EVENT_AFTER_IDS_LEN: Final = len(_EVENT_AFTER_IDS)
_EVENT_ALONE_LEN: Final = len(_EVENT_ALONE)
_GROUP_END_LEN: Final = len(_GROUP_END)
_INTENT_LEN: Final = len(_INTENT)
_IS_INTENT_LEN: Final = len(_IS_INTENT)
_IS_OUTCOME_LEN: Final = len(_IS_OUTCOME)
_NUMBER_LEN: Final = len(_NUMBER)
_PREVIOUS_LEN: Final = len(_PREVIOUS)
_REQUEST_LEN: Final = len(_REQUEST)
_REQUEST_END_LEN: Final = len(_REQUEST_END)
_SCHEMA_LEN: Final = len(_SCHEMA)
_SCOPE_LEN: Final = len(_SCOPE)
_SPAN_LEN: Final = len(_SPAN)
_STREAM_LEN: Final = len(_STREAM)
_TIME_LEN: Final = len(_TIME)
_TRACE_LEN: Final = len(_TRACE)


class NotOurShapeError(Exception):
    """The line is not as the Collector writes our records: it has to be read strictly."""


class Cut:
    """A record to be read strictly: its JSON in the line, and the hash of its Resource."""

    __slots__ = ("end", "resource", "start")

    def __init__(self, start: int, end: int, resource: str) -> None:
        self.start, self.end, self.resource = start, end, resource


class More(NamedTuple):
    """What only some records have."""

    key_id: bytes
    signature: bytes
    intent: bytes
    outcome_of: bytes
    is_end: bool


Plain = tuple[bytes, int, bytes, bytes, int, More | None, bytes, int, int, str]
"""Stream, number, hash, previous hash, time, more; event, start and end in the line, hash of the
Resource."""


class FastReader:
    """Cuts lines into records.  Raises ``NotOurShapeError`` for all that it is not sure of."""

    def __init__(self) -> None:
        """No Resource was seen yet."""
        self._resources: dict[bytes, tuple[str, bytes]] = {}
        self._last = b"\n"
        self._last_bound = ("", b"")
        self._to_number = self._to_bound = 0

    def scan(self, data: bytes, start: int, end: int) -> list[Plain | Cut]:
        """Return the records of the line that is ``data[start:end]``, in order.

        Raises ``NotOurShapeError``.
        """
        records: list[Plain | Cut] = []
        if not data.startswith(_REQUEST, start):
            raise NotOurShapeError
        position = start + _REQUEST_LEN
        while True:
            if data.startswith(self._last, position):
                position += len(self._last)
                resource, bound = self._last_bound
            else:
                scope = data.find(_SCOPE, position, end)
                if scope < 0:
                    raise NotOurShapeError
                text = data[position:scope]
                position = scope + _SCOPE_LEN
                resource, bound = self._resource(text)
            position = self._cut_records(data, position, end, resource, bound, records)
            if not data.startswith(_GROUP_END, position):
                raise NotOurShapeError
            position += _GROUP_END_LEN
            if data.startswith(b",", position):
                position += 1
                continue
            if position + _REQUEST_END_LEN != end or not data.startswith(_REQUEST_END, position):
                raise NotOurShapeError
            return records

    def _resource(self, text: bytes) -> tuple[str, bytes]:
        """Return the hash of a Resource and the attribute by which a record binds it.

        ``text`` is ``{"resource":{...},``.
        """
        known = self._resources.get(text)
        if known is None:
            known = _read_resource(text)
            if len(self._resources) >= _RESOURCES_MAX:
                self._resources.clear()
            self._resources[text] = known
        self._last, self._last_bound = text + _SCOPE, known
        return known

    def _cut_records(
        self,
        data: bytes,
        start: int,
        end: int,
        resource: str,
        bound: bytes,
        records: list[Plain | Cut],
    ) -> int:
        """Cut the records of one Resource; return where they end."""
        find, startswith = data.find, data.startswith
        while True:
            first = start + _TO_FIRST
            if not (
                startswith(_TIME, start)
                and startswith(_OBSERVED, start + _TO_OBSERVED)
                and startswith(_ATTRIBUTES, start + _TO_ATTRIBUTES)
            ):
                raise NotOurShapeError
            last, event_at = _attributes_end(data, first, end)
            trace = span = b""
            if event_at - last != _EVENT_ALONE_LEN:
                trace_at = last + _TRACE_LEN
                trace = data[trace_at : trace_at + _TRACE_HEX]
                span = data[trace_at + _TRACE_HEX + _SPAN_LEN : last + _IDS_SIZE]
            stop = find(b'"}', event_at, end)
            if stop < 0:
                raise NotOurShapeError
            event = data[event_at:stop]
            stop += 2
            if event in _SPECIAL or b'"' in event or find(b"\\", first, last) >= 0:
                records.append(Cut(start, stop, resource))
            else:
                time = data[start + _TIME_LEN : start + _TO_OBSERVED]
                observed = data[start + _OBSERVED_AT : start + _TO_ATTRIBUTES]
                tail = (
                    b'],"eventName":"%b","observedTimeUnixNano":"%b","spanId":"%b",'
                    b'"timeUnixNano":"%b","traceId":"%b"}' % (event, observed, span, time, trace)
                )
                plain = self._plain(data, first, last, bound, tail, time)
                if plain is None:
                    records.append(Cut(start, stop, resource))
                else:
                    records.append((*plain, event, start, stop, resource))
            if stop >= end or data[stop] != _COMMA:
                return stop
            start = stop + 1

    def _plain(
        self, data: bytes, first: int, last: int, bound: bytes, tail: bytes, time: bytes
    ) -> tuple[bytes, int, bytes, bytes, int, More | None] | None:
        """Return place, hashes and what only some records have; None if it is no usual record."""
        find, startswith = data.find, data.startswith
        # Where they were in the record before, they mostly are in this one.
        number_at = first + self._to_number
        if not startswith(_NUMBER, number_at):
            number_at = find(_NUMBER_PART, first, last) - _NUMBER_BACK
            self._to_number = number_at - first
        number_start = number_at + _NUMBER_LEN
        number_end = find(b'"', number_start, number_start + _NUMBER_DIGITS)
        previous_at = number_end + _PREVIOUS_LEN
        stream_at = previous_at + _HASH_HEX + _STREAM_LEN
        bound_at = stream_at + self._to_bound
        if not startswith(bound, bound_at):
            bound_at = find(_BOUND_PART, number_at, last) - _BOUND_BACK
            self._to_bound = bound_at - stream_at
        if (
            number_at < first
            or bound_at < number_at
            or number_end > last
            or bound_at + len(bound) > last
            or not startswith(_NUMBER, number_at)
            or not startswith(_PREVIOUS, number_end)  # the first record of a stream has none
            or not startswith(_STREAM, previous_at + _HASH_HEX)
            or not startswith(_CLOSE, stream_at + _UUID_SIZE)
            or not startswith(bound, bound_at)
        ):
            return None
        is_end = startswith(_END, number_at - _END_LEN)
        schema_at = number_at - _SCHEMA_LEN - (_END_LEN if is_end else 0)
        if not startswith(_SCHEMA, schema_at) or not startswith(_ID, schema_at - _ID_BACK):
            return None
        hashed_to = last
        more = None
        key_at = find(_CERTIFICATE_PART, first, number_at)
        if (
            is_end
            or key_at >= 0
            or startswith(_IS_INTENT, bound_at - _IS_INTENT_LEN)
            or startswith(_IS_OUTCOME, bound_at - _IS_OUTCOME_LEN)
        ):
            more = _more(data, last, key_at, bound_at, is_end=is_end)
            if more is None:
                return None
            if more.key_id:
                hashed_to -= _VALUE_SIZE
        try:
            number = int(data[number_start:number_end])
            time_ns = int(time)
            previous = unhexlify(data[previous_at : previous_at + _HASH_HEX])
        except ValueError:
            return None
        digest = sha256(b'{"attributes":[' + data[first:hashed_to] + tail).digest()
        return data[stream_at : stream_at + _UUID_SIZE], number, digest, previous, time_ns, more


def _read_resource(text: bytes) -> tuple[str, bytes]:
    if not text.endswith(b","):
        raise NotOurShapeError
    try:
        group = cast("object", DECODER.decode(text[:-1].decode() + "}"))
    except (ValueError, RecursionError):
        raise NotOurShapeError from None
    if not isinstance(group, dict) or foreign_members(cast("Json", group), frozenset({"resource"})):
        raise NotOurShapeError
    resource = cast("Json", group).get("resource")
    if not isinstance(resource, dict):
        raise NotOurShapeError
    bound = hash_of_resource(cast("Json", resource))
    return bound, _BOUND % bound.encode()


def _attributes_end(data: bytes, first: int, end: int) -> tuple[int, int]:
    """Return where the attributes end and where the event's name begins."""
    find, startswith = data.find, data.startswith
    last = find(b"]", first, end)
    while last >= 0:
        if startswith(_EVENT_ALONE, last):
            return last, last + _EVENT_ALONE_LEN
        if startswith(_TRACE, last):
            ids_end = last + _IDS_SIZE
            span_at = last + _TRACE_LEN + _TRACE_HEX
            if not startswith(_SPAN, span_at) or not startswith(_EVENT_AFTER_IDS, ids_end):
                break
            return last, ids_end + _EVENT_AFTER_IDS_LEN
        last = find(b"]", last + 1, end)
    raise NotOurShapeError


def _more(data: bytes, last: int, key_at: int, bound_at: int, *, is_end: bool) -> More | None:
    """Return what only some records have; None if it is not as the emitter writes it."""
    startswith = data.startswith
    key_id = signature = intent = outcome_of = b""
    if key_at >= 0:
        key_at += _CERTIFICATE_PART_LEN
        key_id = data[key_at : key_at + _KEY_ID_HEX]
        close_at = last - _CLOSE_LEN
        text = data[close_at - _BASE64_SIZE : close_at]
        if (
            not startswith(_VALUE, last - _VALUE_SIZE)
            or not startswith(_CLOSE, key_at + _KEY_ID_HEX)
            or not startswith(_CLOSE, close_at)
        ):
            return None
        try:
            signature = a2b_base64(text, strict_mode=True)
        except ValueError:
            return None
        # One value has one text: the bits that the last digit has to spare are 0.
        if len(signature) != SIGNATURE_BYTES or text[-3] not in b"AQgw":
            return None
    intent_end = bound_at - _IS_INTENT_LEN
    outcome_end = bound_at - _IS_OUTCOME_LEN
    if startswith(_IS_INTENT, intent_end):
        intent = data[intent_end - _UUID_SIZE : intent_end]
        if not startswith(_INTENT, intent_end - _UUID_SIZE - _INTENT_LEN):
            return None
    elif startswith(_IS_OUTCOME, outcome_end):
        outcome_of = data[outcome_end - _UUID_SIZE : outcome_end]
        if not startswith(_INTENT, outcome_end - _UUID_SIZE - _INTENT_LEN):
            return None
    return More(key_id, signature, intent, outcome_of, is_end)
