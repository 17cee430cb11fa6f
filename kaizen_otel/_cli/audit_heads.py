"""``kaizen-otel audit heads``: how far each stream of the trail is there, signed.

Exit codes: those of ``verify``: 0 clean, 1 tampering, 2 incomplete, 3 the trail cannot be read.
"""

from __future__ import annotations

import json
import os

import click

from kaizen_otel._cli.audit_common import (
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
from kaizen_otel._edges import SystemClock
from kaizen_otel._trail.heads import encode_heads, heads_of
from kaizen_otel._trail.judged import judge_trail


@click.command(short_help="Print how far each stream of the trail is there.")
@spool_option
@trail_option
@json_option
@click.option("--key", metavar="FILE", help="The key that signs; else the agents' key.")
@click.option("--trust", metavar="FILE", help="The trust file; else KAIZEN_OTEL_TRUST_FILE.")
def heads(
    *, spool: str | None, trail: str | None, as_json: bool, key: str | None, trust: str | None
) -> int:
    """Print the last record up to which each stream of the trail is there without a gap.

    With --json as a signed list, which "audit reconcile --heads" reads on an agent's machine.
    """

    def run() -> int:
        folder, filesystem = needed(trail), ProgressFilesystem("read")
        signer = signer_of(key, folders(spool, None)[0]) if as_json else None
        verdict = judge_trail(
            filesystem,
            folder,
            trust_path=trust_path(trust),
            anchor_paths=(),
            warn=warn,
            jobs=os.cpu_count() or 1,
        )
        found = heads_of(filesystem, folder, verdict)
        filesystem.end()
        if signer is not None:
            click.echo(json.dumps(encode_heads(found, signer=signer, clock=SystemClock())))
        else:
            for head in found:
                end = ", ended" if head.is_end else ""
                click.echo(f"{head.stream_id}  {head.number}  {head.digest.hex()}{end}")
        if verdict.exit_code:
            warn(
                "the trail is not clean, so that a head may be lower than what is there: "
                "`kaizen-otel audit verify` says why"
            )
        return verdict.exit_code

    return readable(run)
