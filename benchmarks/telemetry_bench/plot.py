"""The picture: how many times cheaper than each peer, and how many times it should be.

SVG by hand, because a library for pictures weighs more than everything else here.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.telemetry_bench.rows import Line

_WIDTH: Final = 860
_LEFT: Final = 372
_RIGHT: Final = 118
_STEP: Final = 30
_TOP: Final = 58
_BAR: Final = 14
# Read on white and on black: grey text of middle lightness, blue and orange that the colour-blind
# tell apart.
_TEXT: Final = "#808791"
_HOLDS: Final = "#3b82d6"
_MISSED: Final = "#e0762b"
_FREE: Final = "#8f9bb0"


def drawn(lines: Sequence[Line]) -> str:
    """One bar for every ratio, as long as we are cheaper; a mark where the bar asks for."""
    shown = [line for line in lines if line.ratio]
    factors = [1 / line.ratio for line in shown if line.ratio]
    wanted = [1 / line.limit for line in shown if line.limit]
    highest = max([*factors, *wanted, 10.0])
    lowest = min([*factors, *wanted, 1.0])
    height = _TOP + _STEP * len(shown) + 44
    body = "".join(_axis(lowest, highest, height)) + "".join(
        part for place, line in enumerate(shown) for part in _bar(place, line, lowest, highest)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" '
        'font-family="system-ui, -apple-system, Segoe UI, sans-serif" font-size="13">\n'
        "<title>How many times cheaper than each peer</title>\n"
        f'<text x="12" y="24" fill="{_TEXT}" font-size="15" font-weight="600">'
        "Times cheaper than each peer</text>\n"
        f"{_legend()}{body}</svg>\n"
    )


def _x(factor: float, lowest: float, highest: float) -> float:
    span = math.log(highest) - math.log(lowest) or 1.0
    room = _WIDTH - _LEFT - _RIGHT
    return _LEFT + room * (math.log(factor) - math.log(lowest)) / span


def _legend() -> str:
    parts = []
    for x, colour, text in ((372, _HOLDS, "bar holds"), (462, _MISSED, "missed"),
                            (536, _FREE, "no bar")):  # fmt: skip
        parts.append(f'<rect x="{x}" y="14" width="11" height="11" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="24" fill="{_TEXT}">{text}</text>\n')
    parts.append(f'<path d="M612 12V27" stroke="{_TEXT}" stroke-width="2.5"/>')
    parts.append(f'<text x="619" y="24" fill="{_TEXT}">what is asked for</text>\n')
    return "".join(parts)


def _axis(lowest: float, highest: float, height: int) -> Iterator[str]:
    for factor in (0.1, 1, 10, 100, 1_000, 10_000):
        if not lowest * 0.999 <= factor <= highest:
            continue
        x = _x(factor, lowest, highest)
        yield (
            f'<path d="M{x:.1f} {_TOP - 12}V{height - 34}" stroke="{_TEXT}" '
            'stroke-opacity="0.35"/>\n'
            f'<text x="{x:.1f}" y="{height - 16}" fill="{_TEXT}" text-anchor="middle">'
            f"{factor:g}x</text>\n"
        )


def _bar(place: int, line: Line, lowest: float, highest: float) -> Iterator[str]:
    assert line.ratio
    factor, y = 1 / line.ratio, _TOP + place * _STEP
    zero, end = _x(1.0, lowest, highest), _x(factor, lowest, highest)
    colour = {True: _HOLDS, False: _MISSED, None: _FREE}[line.holds]
    name = escape(f"{line.figure} / {line.peer}")
    middle = y + _BAR / 2 + 4.5
    yield (
        f'<text x="{_LEFT - 12}" y="{middle}" fill="{_TEXT}" text-anchor="end" font-size="12">'
        f"{name}</text>\n"
        f'<rect x="{min(zero, end):.1f}" y="{y}" width="{max(abs(end - zero), 1):.1f}" '
        f'height="{_BAR}" rx="3" fill="{colour}"/>\n'
    )
    past = max(zero, end)
    if line.limit:
        mark = _x(1 / line.limit, lowest, highest)
        past = max(past, mark)
        yield f'<path d="M{mark:.1f} {y - 4}v{_BAR + 8}" stroke="{_TEXT}" stroke-width="2.5"/>\n'
    yield (
        f'<text x="{past + 8:.1f}" y="{middle}" fill="{_TEXT}" font-weight="600">'
        f"{factor:.3g}x</text>\n"
    )
