"""Remove old files of a trail and leave a signed record of it, which is durable first.

The record stands in a file of its own, ``audit-pruned-<time>.jsonl``, a short stream like any
other.  It is not appended to the active file: that is the Collector's, which may be rotating it.
Stopped in between, the record says that files may be gone which are still there, and the next run
removes them.
"""

from __future__ import annotations

import json
import posixpath
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.decode import decode_log_record
from kaizen_otel._trail.output import whole_file
from kaizen_otel._trail.prune_plan import PRUNED_PREFIX
from kaizen_otel.audit import record as names
from kaizen_otel.audit._stored import TRAIL_SUFFIX
from kaizen_otel.audit.canonical import resource_hash
from kaizen_otel.audit.chain import Chain, Signing, draft_of
from kaizen_otel.audit.record import AuditRecord
from kaizen_otel.audit.signatures import encode_base64
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._edges import Clock, Filesystem, Ids
    from kaizen_otel._otlp.decode import Json
    from kaizen_otel._signing import Signer
    from kaizen_otel._trail.prune_plan import End, Plan

_COMMIT_RECORDS: Final = 64
_NANOSECONDS: Final = 10**9
_RESOURCE: Final = [{"key": "service.name", "value": {"stringValue": "kaizen-otel"}}]


def prune(
    plan: Plan,
    directory: str,
    *,
    signer: Signer,
    filesystem: Filesystem,
    clock: Clock,
    ids: Ids,
    like: Callable[[str, str], None] | None = None,
) -> str:
    """Carry out a plan; returns the path of the file with the record.

    ``like(made, model)`` gives the new file the permissions of an old one.  Raises ``OSError`` for
    the disk's faults and ``ConfigError`` if the signer does not sign, before anything is removed.
    """
    assert plan.files, "there is nothing to prune"
    path = _free_path(filesystem, directory, clock.time_ns())
    lines = _lines(plan.ends, signer=signer, clock=clock, ids=ids)
    with whole_file(filesystem, path) as output:
        for line in lines:
            output.write(line)
    if like is not None:
        like(path, plan.files[-1].path)
    for file in plan.files:
        filesystem.remove(file.path)
    filesystem.sync_directory(directory)
    return path


def _lines(ends: Mapping[str, End], *, signer: Signer, clock: Clock, ids: Ids) -> list[bytes]:
    """Return the stream that says what was pruned, as the Collector would write it."""
    hashed = resource_hash(_RESOURCE)

    def record(event: str, attributes: Mapping[str, object]) -> AuditRecord:
        common: dict[str, object] = {
            names.ACTION: "DELETE",
            names.OUTCOME: "success",
            names.ACTOR_ID: "kaizen-otel",
            names.ACTOR_TYPE: "system",
        }
        return AuditRecord(
            record_id=ids.uuid7(),
            time_ns=clock.time_ns(),
            event_name=event,
            attributes={**common, **attributes},
            resource_hash=hashed,
        )

    public = {
        names.ACTION: "START",
        names.PUBLIC_KEY: encode_base64(signer.public_key),
        names.KEY_ID: signer.key_id,
    }
    records = [record(names.EVENT_STARTED, public)]
    records += [
        record(
            names.EVENT_PRUNED,
            {
                names.PRUNED_STREAM_ID: stream_id,
                names.PRUNED_SEQUENCE: end.number,
                names.PRUNED_HASH: end.digest.hex(),
            },
        )
        for stream_id, end in sorted(ends.items())
    ]
    records.append(record(names.EVENT_STOPPED, {names.ACTION: "END"}))
    chain = Chain(Signing(signer.key_id, signer.sign))
    stream_id = ids.uuid7()
    lines: list[bytes] = []
    for first in range(0, len(records), _COMMIT_RECORDS):
        drafts = [draft_of(one) for one in records[first : first + _COMMIT_RECORDS]]
        sealed = chain.seal(drafts, stream_id=stream_id, first_sequence=first + 1)
        lines.append(_line([decode_log_record(one) for one in sealed]))
    if chain.sign_failures:
        raise ConfigError(
            f"the record of the pruning could not be signed ({chain.failure}), NOTHING was "
            "removed: name a key that signs with --key"
        )
    return lines


def _line(records: list[Json]) -> bytes:
    scope: Json = {"scope": {}, "logRecords": records}
    group: Json = {"resource": {"attributes": _RESOURCE}, "scopeLogs": [scope]}
    request = {"resourceLogs": [group]}
    text = json.dumps(request, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def _free_path(filesystem: Filesystem, directory: str, now_ns: int) -> str:
    there = set(filesystem.names(directory))
    while True:
        seconds, rest = divmod(now_ns, _NANOSECONDS)
        moment = datetime.fromtimestamp(seconds, tz=UTC)
        time = f"{moment:%Y-%m-%dT%H-%M-%S}.{rest // 10**6:03d}"
        name = f"{PRUNED_PREFIX}{time}{TRAIL_SUFFIX}"
        if name not in there:
            return posixpath.join(directory, name)
        now_ns += 10**6
