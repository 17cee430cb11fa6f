"""``kaizen-otel audit prune``: remove old files of the trail, provably.

Exit codes: 0 done or nothing to do, 2 a file that is old enough may not go, or a wrong argument,
3 the trail cannot be read or changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from kaizen_otel._cli.audit_common import (
    CLEAN,
    INCOMPLETE,
    SHOWN_MAX,
    ProgressFilesystem,
    folders,
    json_option,
    needed,
    readable,
    signer_of,
    spool_option,
    trail_option,
    trust_path,
    warn,
)
from kaizen_otel._edges import SystemClock, shared_ids
from kaizen_otel._trail.judged import judge_trail
from kaizen_otel._trail.keys import read_trust
from kaizen_otel._trail.prune import prune as prune_files
from kaizen_otel._trail.prune_plan import plan_prune
from kaizen_otel.audit._finding import counted

if TYPE_CHECKING:
    from kaizen_otel._edges import Filesystem
    from kaizen_otel._signing import Signer
    from kaizen_otel._trail.prune_plan import Plan

_KEEP: Final = re.compile(r"(\d{1,5})(d|w|mo|y)")
# The longest month and year: rather a day too long.
_DAYS: Final = {"d": 1, "w": 7, "mo": 31, "y": 366}
_DAY_NS: Final = 24 * 3600 * 10**9


class _Keep(click.ParamType[int]):
    """A span of time in nanoseconds: 400d, 60w, 13mo, 7y."""

    name = "span"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        found = _KEEP.fullmatch(value)
        if found is None or not int(found[1]):
            self.fail(f"{value!r} is no span of time: use for example 13mo, 400d or 7y", param, ctx)
        return int(found[1]) * _DAYS[found[2]] * _DAY_NS


@click.command(short_help="Remove rotated files whose records are all old.")
@spool_option
@trail_option
@json_option
@click.option("--keep", type=_Keep(), required=True, help="How long to keep: 13mo, 400d, 7y.")
@click.option("--key", metavar="FILE", help="The key that signs the record; else the agents' key.")
@click.option("--trust", metavar="FILE", help="The trust file; else KAIZEN_OTEL_TRUST_FILE.")
@click.option("--anchors", metavar="FILE", multiple=True, required=True, help="Anchors.")
@click.option("--yes", is_flag=True, help="Do it; without it only the plan is printed.")
def prune(
    *,
    spool: str | None,
    trail: str | None,
    as_json: bool,
    keep: int,
    key: str | None,
    trust: str | None,
    anchors: tuple[str, ...],
    yes: bool,
) -> int:
    """Remove rotated files whose records are all older than --keep, from the oldest on.

    Files go whole.  Whatever is not verified, signed and anchored stays, and so does what comes
    after it.  A signed record says up to where each stream was pruned.
    """

    def run() -> int:
        folder, filesystem, clock = needed(trail), ProgressFilesystem("read"), SystemClock()
        signer = signer_of(key, folders(spool, None)[0])
        trusted = _trusted(signer, trust, filesystem)
        verdict = judge_trail(
            filesystem,
            folder,
            trust_path=trusted,
            anchor_paths=anchors,
            warn=warn,
            jobs=os.cpu_count() or 1,
        )
        before_ns = clock.time_ns() - keep
        plan = plan_prune(filesystem, folder, before_ns=before_ns, verdict=verdict)
        filesystem.end()
        made = ""
        if yes and plan.files:
            made = prune_files(
                plan,
                folder,
                signer=signer,
                filesystem=filesystem,
                clock=clock,
                ids=shared_ids(),
                like=_like,
            )
        _print(plan, made, as_json=as_json)
        return INCOMPLETE if plan.refused else CLEAN

    return readable(run)


def _trusted(signer: Signer, trust: str | None, filesystem: Filesystem) -> str:
    path = trust_path(trust)
    if path is None:
        raise click.UsageError(
            "nothing may go that was not verified with keys you trust: give --trust FILE or set "
            "KAIZEN_OTEL_TRUST_FILE"
        )
    if read_trust(path, filesystem=filesystem, warn=warn).find(signer.key_id) is None:
        raise click.UsageError(
            f"no verifier would believe the record of the pruning: key {signer.key_id} is not in "
            f"{path}; add it with `kaizen-otel audit trust add`, or name another with --key"
        )
    return path


def _like(made: str, model: str) -> None:
    """Let those who may read the trail read the record as well."""
    shutil.copymode(model, made)
    found = os.stat(model)  # noqa: PTH116 - paths are strings here
    with suppress(PermissionError):  # only root may give files away
        os.chown(made, found.st_uid, found.st_gid)


def _print(plan: Plan, made: str, *, as_json: bool) -> None:
    if as_json:
        document = {
            "done": bool(made),
            "record": made,
            "files": [file.path for file in plan.files],
            "bytes": plan.size,
            "records": plan.records,
            "streams": {stream_id: end.number for stream_id, end in sorted(plan.ends.items())},
            "refused": plan.refused,
            "reasons": plan.reasons[:SHOWN_MAX],
            "too_young": plan.too_young,
        }
        click.echo(json.dumps(document))
        return
    word = "removed" if made else "would remove"
    for file in plan.files:
        click.echo(f"{word} {file.path}: {file.records} records, {file.size} bytes")
    click.echo(
        f"{word} {counted(len(plan.files), 'file')} of {plan.size} bytes and "
        f"{counted(len(plan.ends), 'stream')}; "
        f"{plan.too_young} rotated files are not old enough"
    )
    if made:
        click.echo(f"recorded in {made}")
    elif plan.files:
        click.echo("nothing was changed: --yes does it")
    if plan.refused:
        click.echo(f"{plan.refused} and what comes after it stays:", err=True)
        for reason in plan.reasons[:SHOWN_MAX]:
            click.echo(f"  {reason}", err=True)
