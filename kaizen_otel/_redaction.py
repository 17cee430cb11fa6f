"""Redaction of obvious secrets in free text and attributes; pure.

A cheap prefilter decides whether any pattern can match at all, for most texts hold no secret.
What is found becomes ``[REDACTED:rule]``.  This is a net under the rule that no content is sent
by default, not a replacement for it.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEY_BLOCK: Final = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_API_KEY: Final = (
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[A-Za-z0-9_-]{30,}"
)
_ASSIGNMENT: Final = (
    r"(?i:\b(?:[a-z0-9_.-]{0,64}[_.-])?(?:password|passwd|pwd|secret|api[_-]?key|token"
    r"|authorization)\b[\"']?\s*[=:]\s*)(?i:(?:bearer|basic)\s+)?"
    r"(?:\"(?:[^\"\\]|\\[\s\S])*(?:\"|\\?\Z)|'(?:[^'\\]|\\[\s\S])*(?:'|\\?\Z)|[^\s,;&\"']+)"
)
_RULES: Final = (
    ("private_key", _KEY_BLOCK),
    ("assignment", _ASSIGNMENT),
    ("bearer", r"(?i:\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}"),
    ("basic", r"(?i:\bbasic\s+)[A-Za-z0-9+/]{12,}={0,2}"),
    ("api_key", _API_KEY),
    # The header's length is bounded: else a text of many "eyJ..." would cost quadratic time.
    ("jwt", r"\beyJ[A-Za-z0-9_-]{8,512}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    ("url_password", r"(?<=://)[^\s/:@]{1,256}:[^\s/@]{1,256}(?=@)"),
)
_DEPTH_MAX: Final = 16
_NODES_MAX: Final = 65_536
_REMEMBERED_LENGTH: Final = 64
_REMEMBERED_MAX: Final = 4096
# Each rule needs one of these; looked for one by one they cost a tenth of an alternation.
_MARKS: Final = (
    "bearer", "basic", "private key", "sk-", "pk-", "rk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
    "xox", "akia", "aiza", "eyj", "@", "passw", "pwd", "secret", "api_key", "api-key", "apikey",
    "token", "authorization",
)  # fmt: skip
_SECRET_KEY: Final = re.compile(
    r"(?i)(?:^|[._-])(?:password|passwd|pwd|secret|token|api[_-]?key|authorization|cookie"
    r"|credentials?|private[_-]?key)$"
)


class Redactor:
    """Replaces secrets and counts them by rule."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        # Short attributes that hold no secret: names and models come again and again.
        self._clean: set[tuple[str, str]] = set()
        self._clean_texts: set[str] = set()

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each rule has replaced something."""
        return dict(self._counts)

    def redact(self, text: str) -> str:
        """``text`` with every secret replaced."""
        is_short = len(text) <= _REMEMBERED_LENGTH
        if is_short and text in self._clean_texts:
            return text
        if not _may_hold_secret(text):
            if is_short:
                if len(self._clean_texts) >= _REMEMBERED_MAX:
                    self._clean_texts.clear()
                self._clean_texts.add(text)
            return text
        return _pattern().sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        rule = match.lastgroup or "unknown"
        self._counts[rule] += 1
        return f"[REDACTED:{rule}]"

    def redact_attributes(self, attributes: Mapping[str, object]) -> dict[str, object]:
        """Attributes with secrets replaced; the value of a key that names a secret goes whole.

        Numbers stay: ``token`` is also the name of a count.  Texts inside sequences and
        dictionaries are replaced as well; other values are left to the encoder.
        """
        redacted: dict[str, object] = {}
        clean = self._clean
        for key, value in attributes.items():
            if type(value) is str and (key, value) in clean:
                redacted[key] = value
            elif isinstance(value, (str, bytes, bytearray, list, tuple, dict)):
                found = self._redact_value(key, cast("object", value), _DEPTH_MAX, [_NODES_MAX])
                redacted[key] = found
                if isinstance(found, str) and found is value and len(found) <= _REMEMBERED_LENGTH:
                    if len(clean) >= _REMEMBERED_MAX:
                        clean.clear()
                    clean.add((key, found))
            else:
                redacted[key] = value
        return redacted

    def redact_value(self, key: str, value: object) -> object:
        """Return one attribute's value without secrets; the very same object if it is clean."""
        if isinstance(value, (str, bytes, bytearray, list, tuple, dict)):
            return self._redact_value(key, cast("object", value), _DEPTH_MAX, [_NODES_MAX])
        return value

    def _redact_value(
        self, key: object, value: object, depth: int, nodes_left: list[int]
    ) -> object:
        if isinstance(key, str) and _SECRET_KEY.search(key):
            if isinstance(value, (bool, int, float)):
                return value
            self._counts["key"] += 1
            return "[REDACTED:key]"
        if isinstance(value, str):
            return self.redact(value)
        if not isinstance(value, (list, tuple, dict)):
            return value
        nodes_left[0] -= len(cast("Sequence[object]", value))
        if depth == 0 or nodes_left[0] < 0:
            # The encoder follows no deeper and no further either.
            return "[REDACTED:depth]"
        if isinstance(value, dict):
            items = cast("Mapping[object, object]", value).items()
            return {
                name: self._redact_value(name, item, depth - 1, nodes_left) for name, item in items
            }
        sequence = cast("Sequence[object]", value)
        return [self._redact_value(None, item, depth - 1, nodes_left) for item in sequence]


@cache
def _pattern() -> re.Pattern[str]:
    # Compiled when the first text may hold a secret: it takes as long as importing ten modules.
    return re.compile("|".join(f"(?P<{name}>{text})" for name, text in _RULES))


@cache
def _prefilter() -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, _MARKS)), re.IGNORECASE)


def _may_hold_secret(text: str) -> bool:
    if not text.isascii():
        # Other letters are equal to ours for the rules, which ignore case as Unicode does.
        return _prefilter().search(text) is not None
    lowered = text.lower()
    for mark in _MARKS:  # noqa: SIM110 - a generator costs more than the search
        if mark in lowered:
            return True
    return False
