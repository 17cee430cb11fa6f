"""Encode what comes again only once: records of one kind differ in a few attributes.

A *shape* is an event, the names of the attributes and the types of their values; a *template* of
it is an encoded record with holes for the values that differ from one record to the next.  A
record whose other values are known is encoded by filling the holes.  Which attributes vary is
learned.  What fills a hole goes through the rule that ``protect`` has for it, and a template is
used only if it gave the very bytes that ``protect`` and ``draft_of`` gave for the record that it
was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel.audit import record as names
from kaizen_otel.audit._attributes import UNIQUE, encoded, encoded_number, encoded_text, remembered
from kaizen_otel.audit._content import (
    JOINT,
    NO_PARTS,
    PLAIN_BYTES_MAX,
    content_bytes,
    event_of,
    hidden_names,
    plain_size_max,
    protect,
)
from kaizen_otel.audit._public import public_or_none
from kaizen_otel.audit.chain import TEXT_HEAD, Draft, draft_of, fields_and_tail, layout
from kaizen_otel.audit.record import AuditRecord

if TYPE_CHECKING:
    from kaizen_otel.audit._content import Pseudonyms

_SHAPES_MAX: Final = 256
_TEMPLATES_MAX: Final = 256
_ATTRIBUTES_MAX: Final = 48
_VALUES_MAX: Final = 16
# A template costs as much as two records encoded without one.
_USES_MIN: Final = 4
# More than any plain value takes, see ``_public``.
_HOLE_BYTES: Final = 1536
# Equal ones of the same type mean the same.
_COMPARABLE: Final = frozenset({str, int, bool, type(None)})

_ValuesOf = Callable[[Mapping[str, object]], object]
_ShapeKey = tuple[str, str, tuple[str, ...], tuple[type, ...]]


class Envelope(NamedTuple):
    """What a record has besides its event and its attributes, see ``AuditRecord``."""

    record_id: str
    time_ns: int
    observed_ns: int
    trace_id: bytes
    span_id: bytes
    resource_hash: str


def protected_record(
    event_name: str,
    attributes: Mapping[str, object],
    envelope: Envelope,
    pseudonyms: Pseudonyms,
    parts: Mapping[str, Mapping[str, object]] = NO_PARTS,
) -> AuditRecord:
    """Return a record in which everything that is not public is hidden, see ``protect``."""
    name, hidden = event_of(event_name, names.EVENT_OTHER, pseudonyms)
    record_id, time_ns, observed_ns, trace_id, span_id, resource_hash = envelope
    return AuditRecord(
        record_id=record_id,
        time_ns=time_ns,
        observed_ns=observed_ns,
        event_name=name,
        attributes={**protect(attributes, pseudonyms, parts), **hidden},
        trace_id=trace_id,
        span_id=span_id,
        resource_hash=resource_hash,
    )


class _Hole(NamedTuple):
    """Where a varying attribute goes: as it is, or its HMAC at ``at`` and its size at ``size_at``.

    ``hmac_name`` is empty for one that is public.
    """

    name: str
    at: int
    hmac_name: str = ""
    size_at: int = 0
    size_name: str = ""


class _Template(NamedTuple):
    data: list[bytes]
    texts: list[bytes]
    certificate_at: int
    place_at: int
    id_at: int
    holes: list[_Hole]
    event_name: str


class _Shape:
    """What is known of one shape: what varies in it, and templates by the values that do not."""

    __slots__ = ("made", "seen", "stable", "templates", "used", "values_of", "varying")

    def __init__(self, given: tuple[str, ...], varying: frozenset[str]) -> None:
        self.varying = varying
        self.stable = tuple(name for name in given if name not in varying)
        self.values_of = _getter(self.stable)
        self.templates: dict[object, _Template] = {}
        self.seen: dict[str, set[object]] = {name: set() for name in self.stable}
        self.made = self.used = 0


class Templates:
    """Makes drafts for one process.  Any number of threads may use it; they learn the same."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        """Hide content with ``pseudonyms``."""
        self._pseudonyms = pseudonyms
        # None: templates of this shape are not worth it.
        self._shapes: dict[_ShapeKey, _Shape | None] = {}

    def draft(self, event_name: str, attributes: Mapping[str, object], envelope: Envelope) -> Draft:
        """Return what ``protected_record`` and ``draft_of`` make of a record."""
        types = tuple(map(type, attributes.values()))
        key = (event_name, envelope.resource_hash, tuple(attributes), types)
        shape = self._shapes.get(key)
        if shape is not None:
            template = shape.templates.get(shape.values_of(attributes))
            if template is not None:
                draft = self._filled(template, attributes, envelope)
                if draft is not None:
                    shape.used += 1
                    return draft
        record = protected_record(event_name, attributes, envelope, self._pseudonyms)
        draft = draft_of(record)
        if record.event_name == event_name:
            self._learn(key, attributes, envelope, record, draft)
        return draft

    def _filled(
        self, template: _Template, attributes: Mapping[str, object], envelope: Envelope
    ) -> Draft | None:
        """Fill the holes; None if a value is not of the kind that belongs into its hole."""
        record_id, time_ns, observed_ns, trace_id, span_id, _ = envelope
        data, texts = template.data.copy(), template.texts.copy()
        data[0], texts[-1] = fields_and_tail(
            template.event_name, time_ns, observed_ns, trace_id, span_id
        )
        for name, at, hmac_name, size_at, size_name in template.holes:
            value = attributes[name]
            plain = public_or_none(name, value)
            if (plain is None) is not bool(hmac_name):
                return None
            if plain is not None:
                data[at], texts[at] = encoded(name, plain)
            else:
                content = content_bytes(value)
                pseudonym = self._pseudonyms.of_bytes(content)
                data[at], texts[at] = encoded_text(hmac_name, pseudonym)
                data[size_at], texts[size_at] = encoded_number(size_name, len(content))
        at = template.id_at
        data[at], texts[at] = encoded_text(names.RECORD_ID, record_id)
        return Draft(template.event_name, data, texts, template.certificate_at, template.place_at)

    def _learn(
        self,
        key: _ShapeKey,
        attributes: Mapping[str, object],
        envelope: Envelope,
        record: AuditRecord,
        draft: Draft,
    ) -> None:
        """Make a template of a record, unless templates of its shape are not worth it."""
        shapes, given = self._shapes, key[2]
        if key not in shapes:
            if len(shapes) >= _SHAPES_MAX:
                shapes.clear()
            shapes[key] = _first_shape(attributes, record)
        shape = shapes.get(key)
        if shape is None:
            return
        shape.made += 1
        if shape.made > _TEMPLATES_MAX and shape.used < shape.made * _USES_MIN:
            shapes[key] = None
            return
        template = _template_of(shape, attributes, record)
        if template is None:
            return
        again = self._filled(template, attributes, envelope)
        if again is None or not again.is_same(draft):
            return
        if len(shape.templates) >= _TEMPLATES_MAX:
            shape.templates.clear()
        shape.templates[shape.values_of(attributes)] = template
        varying = [
            name
            for name in shape.stable
            if _has_many(shape.seen[name], attributes[name]) and name not in JOINT
        ]
        if varying:
            shapes[key] = _Shape(given, shape.varying.union(varying))


def _first_shape(attributes: Mapping[str, object], record: AuditRecord) -> _Shape | None:
    """Return a shape in which varies what is hidden, has no value to compare, or is unique."""
    given = tuple(attributes)
    if len(given) > _ATTRIBUTES_MAX or not all(type(name) is str for name in given):
        return None
    varying = frozenset(
        name
        for name, value in attributes.items()
        if value is not None
        and (name in UNIQUE or type(value) not in _COMPARABLE or name not in record.attributes)
    )
    return None if varying & JOINT else _Shape(given, varying)


def _template_of(
    shape: _Shape, attributes: Mapping[str, object], record: AuditRecord
) -> _Template | None:
    """Return a template; None if a value that does not vary is hidden, or room could run out."""
    plain_bytes = 0
    for name in shape.stable:
        value = attributes[name]
        if value is not None:
            plain = record.attributes.get(name)
            if not isinstance(plain, (str, int)) or (plain != value and type(value) is not bool):
                return None
            plain_bytes += len(name) + plain_size_max(plain)
    hole_bytes = sum(_HOLE_BYTES + len(name) for name in shape.varying)
    if plain_bytes + hole_bytes > PLAIN_BYTES_MAX:
        return None
    whole = names.attributes_of(record)
    ordered, first, second = layout(tuple(whole))
    # Two more pieces come before what follows the first and the second place.
    places = {
        name: 1 + index + (index >= first) + (index >= second) for index, name in enumerate(ordered)
    }
    holes = _holes(shape, record, places)
    if holes is None:
        return None
    pairs = [remembered(name, whole[name]) for name in ordered]
    data, texts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    texts[0] = texts[0][1:]
    for index, end in ((second, b""), (first, b"")):
        data.insert(index, end)
        texts.insert(index, end)
    return _Template(
        [b"", *data, b""],
        [TEXT_HEAD, *texts, b""],
        1 + first,
        2 + second,
        places[names.RECORD_ID],
        holes,
        record.event_name,
    )


def _holes(shape: _Shape, record: AuditRecord, places: dict[str, int]) -> list[_Hole] | None:
    """Return the holes of a record; None if two would be one, or one would be the first piece."""
    holes: list[_Hole] = []
    for name in shape.varying:
        if name in record.attributes:
            hole = _Hole(name, places.get(name, 1))
        else:
            hmac_name, size_name = hidden_names(name)
            places_of = places.get(hmac_name, 1), places.get(size_name, 1)
            hole = _Hole(name, places_of[0], hmac_name, places_of[1], size_name)
        holes.append(hole)
    taken = [hole.at for hole in holes] + [hole.size_at for hole in holes if hole.hmac_name]
    return holes if 1 not in taken and len(set(taken)) == len(taken) else None


def _getter(given: tuple[str, ...]) -> _ValuesOf:
    """Return what takes some values out of attributes, as something to compare."""
    return cast("_ValuesOf", itemgetter(*given)) if given else lambda _: None


def _has_many(seen: set[object], value: object) -> bool:
    if len(seen) <= _VALUES_MAX:
        seen.add(value)
    return len(seen) > _VALUES_MAX
