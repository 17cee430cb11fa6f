"""What is offered: 200 shapes of spans, drawn once from a seed, and what must arrive of them.

Standard library only: it runs in every contender's own environment.  The span with number ``i``
has shape ``i % 200`` and values that depend on ``i``, so neither a name, nor a set of keys, nor a
value can be what a contender is tuned for.  Two of six attributes differ from span to span.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]

COUNT: Final = 200
#: Numbers from here on are for warming up and are not looked at.
WARM_UP: Final = 1_000_000_000
_SEED: Final = 20_261_130
_LANGUAGE: Final = (
    "agent answer batch branch budget cache cell chain chart claim cloud column corpus cycle "
    "delta draft editor engine entity event facts field filter graph guide image index inner "
    "intent item jobs label ledger legal letter limit merge model notes order outer owner panel "
    "parse phase place plan policy price query queue ranked ready region reply route rule "
    "sample score search season shard share shelf signal slice stage state step stock store "
    "stream summary table task team ticket topic trade turn unit update vector version window "
    "wire yield zone"
)
_WORDS: Final = tuple(_LANGUAGE.split())
_INDEX_KEYS: Final = tuple(f"bench.{word}.number" for word in _WORDS[:8])
_TEXT_KEYS: Final = tuple(f"bench.{word}.text" for word in _WORDS[8:24])
#: Texts of one to four words; a number of them that shares no factor with the shapes'.
TEXTS: Final = tuple(
    " ".join(random.Random(n).choices(_WORDS, k=1 + n % 4))  # noqa: S311 - nothing is secret
    for n in range(997)
)
DIMENSIONS: Final[Sequence[Mapping[str, str | int | bool]]] = tuple(
    {"agent": _WORDS[n % 10], "tool": _WORDS[10 + n], "ok": n % 3 > 0} for n in range(40)
)
"""Attribute sets of measurements."""
BODIES: Final = tuple(" ".join(_WORDS[n : n + 5]) for n in range(20))
SEVERITIES: Final = (("INFO", 9), ("WARN", 13), ("ERROR", 17), ("DEBUG", 5))


class Shape(NamedTuple):
    """One shape.  ``kind`` is OTLP's number; a link is a trace id, a span id and attributes."""

    name: str
    kind: int
    fixed: Attributes
    index_key: str
    text_key: str
    events: tuple[tuple[str, Attributes], ...]
    links: tuple[tuple[int, int, Attributes], ...]
    is_parent: bool


def _value(draw: random.Random) -> Value:
    kind = draw.choices(("text", "int", "long", "float", "bool", "sequence"), (12, 2, 1, 2, 2, 1))
    match kind[0]:
        case "text":
            return " ".join(draw.choices(_WORDS, k=draw.choice((1, 1, 1, 2, 2, 3, 6))))
        case "int":
            return draw.randrange(200)
        case "long":
            return draw.randrange(1 << 40) - (1 << 39)
        case "float":
            return round(draw.uniform(0, 1000), draw.randrange(1, 6))
        case "bool":
            return draw.choice((True, False))
        case _:
            return tuple(draw.sample(_WORDS, draw.choice((1, 2, 3))))


def _attributes(draw: random.Random, count: int) -> Attributes:
    keys = {".".join(draw.sample(_WORDS, draw.choice((1, 2, 2, 3)))) for _ in range(count)}
    while len(keys) < count:
        keys.add(draw.choice(_WORDS))
    return {key: _value(draw) for key in sorted(keys)}


def _shapes() -> tuple[Shape, ...]:
    draw = random.Random(_SEED)  # noqa: S311 - as above
    made: list[Shape] = []
    for position in range(COUNT):
        rare = draw.random()
        made.append(
            Shape(
                name=" ".join(draw.sample(_WORDS, draw.choice((1, 2, 2, 3)))),
                kind=draw.choice((1, 1, 1, 2, 3, 4, 5)),
                fixed=_attributes(draw, 4),
                index_key=draw.choice(_INDEX_KEYS),
                text_key=draw.choice(_TEXT_KEYS),
                events=tuple(
                    (draw.choice(_WORDS), _attributes(draw, draw.randrange(3)))
                    for _ in range(draw.choice((1, 2)) if rare < 0.1 else 0)  # noqa: PLR2004
                ),
                links=(
                    ((draw.getrandbits(128) | 1, draw.getrandbits(64) | 1, _attributes(draw, 1)),)
                    if rare > 0.93  # noqa: PLR2004 - one in fourteen
                    else ()
                ),
                # A child follows its parent at once; every fifth pair is one.
                is_parent=position % 2 == 0 and draw.random() < 0.4,  # noqa: PLR2004
            )
        )
    return tuple(made)


SHAPES: Final = _shapes()


class Expected(NamedTuple):
    """What must be found of one span."""

    name: str
    kind: int
    attributes: Attributes
    events: tuple[tuple[str, Attributes], ...]
    links: tuple[tuple[int, int, Attributes], ...]


def expected_span(index: int) -> Expected:
    """What span ``index`` is."""
    shape = SHAPES[index % COUNT]
    return Expected(shape.name, shape.kind, attributes_of(shape, index), shape.events, shape.links)


def parent_of(index: int) -> int | None:
    """The number of the parent of span ``index``; None for a root."""
    return index - 1 if index % COUNT and SHAPES[(index - 1) % COUNT].is_parent else None


def attributes_of(shape: Shape, index: int) -> Attributes:
    """The six attributes of span ``index``."""
    return {**shape.fixed, shape.index_key: index, shape.text_key: TEXTS[index % len(TEXTS)]}


def index_of(attributes: Mapping[str, Any]) -> int | None:
    """The number that a span or log record carries."""
    for key in _INDEX_KEYS:
        if key in attributes:
            found = attributes[key]
            return found if isinstance(found, int) else None
    return None


def span_emitter(
    start: Callable[..., Any],
    *,
    kinds: Mapping[int, object],
    link: Callable[[int, int, Attributes], object],
) -> Callable[[int], int]:
    """A function that makes span ``i`` (and its child) and returns the next number.

    ``start`` is the contender's own way to start a span; ``kinds`` and ``link`` say how it writes
    those.  What is prepared here is prepared for everybody before the clock runs.
    """
    from opentelemetry.context import attach, detach
    from opentelemetry.trace import set_span_in_context

    prepared = [
        (
            shape.name, kinds[shape.kind], dict(shape.fixed), shape.index_key, shape.text_key,
            shape.events, [link(*one) for one in shape.links], shape.is_parent,
        )
        for shape in SHAPES
    ]  # fmt: skip
    texts, text_count = TEXTS, len(TEXTS)

    def emit(index: int) -> int:
        name, kind, fixed, index_key, text_key, events, links, is_parent = prepared[index % COUNT]
        span = start(
            name,
            kind=kind,
            attributes={**fixed, index_key: index, text_key: texts[index % text_count]},
            links=links,
        )
        for event, attributes in events:
            span.add_event(event, attributes)
        if is_parent:
            token = attach(set_span_in_context(span))
            index = emit(index + 1) - 1
            detach(token)
        span.end()
        return index + 1

    return emit


def log_emitter(emit_record: Callable[[str, int, Attributes], object]) -> Callable[[int], int]:
    """A function that emits log record ``i``: body, severity and six attributes."""
    shapes, texts, text_count = SHAPES, TEXTS, len(TEXTS)

    def emit(index: int) -> int:
        shape = shapes[index % COUNT]
        emit_record(
            BODIES[index % 20],
            index % 4,
            {**shape.fixed, shape.index_key: index, shape.text_key: texts[index % text_count]},
        )
        return index + 1

    return emit


def counter_emitter(add: Callable[..., object]) -> Callable[[int], int]:
    """A function that counts one, in attribute set ``i % 40``."""

    def emit(index: int) -> int:
        add(1, DIMENSIONS[index % 40])
        return index + 1

    return emit


def histogram_emitter(record: Callable[..., object]) -> Callable[[int], int]:
    """A function that records ``i % 1024`` milliseconds, in attribute set ``i % 40``."""

    def emit(index: int) -> int:
        record((index & 1023) * 0.001, DIMENSIONS[index % 40])
        return index + 1

    return emit
