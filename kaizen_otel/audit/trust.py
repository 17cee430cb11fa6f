"""The trust file: the public keys whose signatures a verifier believes, and since when.

::

    {"version": 1, "keys": [{"key_id": "<32 hexadecimal digits>", "public_key": "<base64>",
      "name": "<who holds it>", "added": "<ISO 8601>", "not_before": "...", "not_after": "..."}]}

``not_before`` and ``not_after`` may be left out; both are included in the time.  A member that is
not known here is refused: a misspelt ``not_after`` would otherwise trust for ever.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel.audit.signatures import (
    PUBLIC_KEY_BYTES,
    decode_base64,
    encode_base64,
    is_usable,
    key_id_of,
)
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUST_BYTES_MAX: Final = 1024 * 1024
NAME_LENGTH_MAX: Final = 200

_VERSION: Final = 1
_FILE_MEMBERS: Final = frozenset({"version", "keys"})
_NEEDED: Final = frozenset({"key_id", "public_key", "name", "added"})
_OPTIONAL: Final = frozenset({"not_before", "not_after"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICROSECOND_NS: Final = 1000
_SHOWN_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """One key: whose it is, when it was added, and the time in which it may have signed.

    All times are in UTC.
    """

    public_key: bytes
    name: str
    added: datetime
    not_before: datetime | None = None
    not_after: datetime | None = None

    @property
    def key_id(self) -> str:
        """The key's id, which follows from the key."""
        return key_id_of(self.public_key)

    def is_valid_at(self, time_ns: int) -> bool:
        """Whether the key may have signed at that moment, in nanoseconds since the Unix epoch."""
        # The last microsecond is included to its end.
        return (self.not_before is None or _nanoseconds(self.not_before) <= time_ns) and (
            self.not_after is None or time_ns < _nanoseconds(self.not_after) + _MICROSECOND_NS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The keys of a trust file, in its order."""

    keys: tuple[TrustedKey, ...] = ()

    def find(self, key_id: str) -> TrustedKey | None:
        """Return the key with that id, or None if it is not trusted."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def adding(self, key: TrustedKey) -> Trust:
        """Return this with one key more, or with that key's other entry replaced.

        Raises ``ConfigError`` if the key must not be trusted.
        """
        if not is_usable(key.public_key):
            raise ConfigError("the public key is one under which anybody can sign: NOT added")
        _check_name(key.name, "the name")
        _check_order(key.not_before, key.not_after, "the key")
        if self.find(key.key_id) is None:
            return replace(self, keys=(*self.keys, key))
        keys = tuple(key if key.key_id == old.key_id else old for old in self.keys)
        return replace(self, keys=keys)

    def removing(self, key_id: str) -> Trust:
        """Return this without the key of that id."""
        return replace(self, keys=tuple(key for key in self.keys if key.key_id != key_id))


def parse_trust(data: bytes, *, source: str) -> Trust:
    """Read a trust file.  Raises ``ConfigError`` that names ``source``, the key and the member."""
    try:
        text = data.decode("utf-8-sig")
        document: object = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(_unusable(source, f"it is not JSON ({error})")) from None
    if not isinstance(document, dict):
        raise ConfigError(_unusable(source, "it is not an object with 'version' and 'keys'"))
    try:
        return Trust(keys=_keys(cast("Mapping[str, object]", document)))
    except _MemberError as error:
        raise ConfigError(_unusable(source, str(error))) from None


def encode_trust(trust: Trust) -> bytes:
    """Return the file that ``parse_trust`` reads as the same keys."""
    keys = [described_key(key) for key in trust.keys]
    text = json.dumps({"version": _VERSION, "keys": keys}, indent=2, ensure_ascii=False)
    return f"{text}\n".encode()


def described_key(key: TrustedKey) -> dict[str, str]:
    """Return one key as the file's members."""
    times = {"added": key.added, "not_before": key.not_before, "not_after": key.not_after}
    return {
        "key_id": key.key_id,
        "public_key": encode_base64(key.public_key),
        "name": key.name,
        **{
            name: time.isoformat().replace("+00:00", "Z")
            for name, time in times.items()
            if time is not None
        },
    }


class _MemberError(ConfigError):
    """What is wrong with a member, without the file's name."""


def _unusable(source: str, why: str) -> str:
    return (
        f"the trust file {source} cannot be used, NO key is trusted: {why}; correct it, or name "
        "another with KAIZEN_OTEL_TRUST_FILE"
    )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a member twice")
    return members


def _keys(members: Mapping[str, object]) -> tuple[TrustedKey, ...]:
    _check_members(members, needed=_FILE_MEMBERS, optional=frozenset(), where="the file")
    version, items = members["version"], members["keys"]
    if version != _VERSION or isinstance(version, bool):
        raise _MemberError(f"version is not {_VERSION}, the only one that is known here")
    if not isinstance(items, list):
        raise _MemberError("keys is not a list")
    keys = [_key(item, index) for index, item in enumerate(cast("list[object]", items))]
    seen: dict[str, int] = {}
    for index, key in enumerate(keys):
        if key.key_id in seen:
            raise _MemberError(f"keys[{index}] has the key_id of keys[{seen[key.key_id]}]")
        seen[key.key_id] = index
    return tuple(keys)


def _key(item: object, index: int) -> TrustedKey:
    where = f"keys[{index}]"
    if not isinstance(item, dict):
        raise _MemberError(f"{where} is not an object")
    members = cast("Mapping[str, object]", item)
    _check_members(members, needed=_NEEDED, optional=_OPTIONAL, where=where)
    texts = {name: _text(value, f"{where}.{name}") for name, value in members.items()}
    public_key = decode_base64(texts["public_key"], PUBLIC_KEY_BYTES)
    if public_key is None:
        raise _MemberError(
            f"{where}.public_key is not an Ed25519 public key: {PUBLIC_KEY_BYTES} bytes in base64"
        )
    if not is_usable(public_key):
        raise _MemberError(f"{where}.public_key is a key under which anybody can sign")
    if texts["key_id"] != key_id_of(public_key):
        raise _MemberError(
            f"{where}.key_id is not the id of its public_key, which is {key_id_of(public_key)}"
        )
    _check_name(texts["name"], f"{where}.name")
    times = {
        name: _time(texts[name], f"{where}.{name}")
        for name in ("added", "not_before", "not_after")
        if name in texts
    }
    not_before, not_after = times.get("not_before"), times.get("not_after")
    _check_order(not_before, not_after, where)
    return TrustedKey(
        public_key=public_key,
        name=texts["name"],
        added=times["added"],
        not_before=not_before,
        not_after=not_after,
    )


def _check_members(
    members: Mapping[str, object], *, needed: frozenset[str], optional: frozenset[str], where: str
) -> None:
    missing, foreign = needed - set(members), set(members) - needed - optional
    if missing:
        raise _MemberError(f"{where} has no {min(missing)!r}")
    if foreign:
        raise _MemberError(f"{where} has {min(foreign)[:_SHOWN_MAX]!r}, which is not known")


def _check_name(name: str, where: str) -> None:
    # It is printed on terminals, where control characters could show something else.
    if not name.isprintable() or len(name) > NAME_LENGTH_MAX:
        raise _MemberError(f"{where} is not printable text of at most {NAME_LENGTH_MAX} characters")


def _check_order(not_before: datetime | None, not_after: datetime | None, where: str) -> None:
    if not_before is not None and not_after is not None and not_after < not_before:
        raise _MemberError(f"{where} has a not_after that is before its not_before")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _MemberError(f"{where} is not text")
    return value


def _time(text: str, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # the same answer as for a time without zone
    raise _MemberError(f"{where} is not a time with its zone, as 2026-11-24T16:00:00Z is")


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND * _MICROSECOND_NS
