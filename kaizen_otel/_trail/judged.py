"""The verdict over a trail and the keys in it, for tools that act on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaizen_otel._trail.keys import read_trust
from kaizen_otel._trail.range import read_range
from kaizen_otel._trail.verify import Settings, Sources, verify
from kaizen_otel.audit import record as names
from kaizen_otel.audit._stored import Report
from kaizen_otel.audit.query import Filter
from kaizen_otel.audit.signatures import PUBLIC_KEY_BYTES, decode_base64, key_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kaizen_otel._edges import Filesystem
    from kaizen_otel.audit.trust import Trust
    from kaizen_otel.audit.verify import Verdict


def judge_trail(
    filesystem: Filesystem,
    directory: str,
    *,
    trust_path: str | None,
    anchor_paths: Sequence[str],
    warn: Callable[[str], None],
    jobs: int = 1,
) -> Verdict:
    """Verify every record of a trail folder, with every signature.

    Raises ``ConfigError`` for a trust file that cannot be used.
    """
    trust: Trust | None = None
    if trust_path is not None:
        trust = read_trust(trust_path, filesystem=filesystem, warn=warn)
    sources = Sources(trails=(directory,), anchors=tuple(anchor_paths))
    return verify(sources, settings=Settings(trust=trust, jobs=jobs), filesystem=filesystem)


def published_keys(filesystem: Filesystem, directory: str) -> dict[str, bytes]:
    """Return the public keys that the streams of a trail say they are signed by, by their ids.

    Raises ``OSError`` if the trail cannot be read.
    """
    keys: dict[str, bytes] = {}
    for event in (names.EVENT_STARTED, names.EVENT_KEY_ROTATED):
        for found in read_range(filesystem, directory, Filter(action=event), report=Report()):
            text = found.record.attributes.get(names.PUBLIC_KEY)
            key = decode_base64(text, PUBLIC_KEY_BYTES)
            if key is not None:
                keys[key_id_of(key)] = key
    return keys
