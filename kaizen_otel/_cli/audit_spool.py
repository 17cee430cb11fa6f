"""``kaizen-otel audit reconcile``, ``status`` and ``flush``: compare, look at, empty the spool."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kaizen_otel._cli.audit_common import (
    CLEAN,
    INCOMPLETE,
    SHOWN_MAX,
    json_option,
    needed,
    readable,
    spool_option,
    spool_root,
    trail_option,
    trust_path,
    warn,
)
from kaizen_otel._edges import OsFilesystem, SystemClock, shared_ids
from kaizen_otel._spool.store import open_or_explain
from kaizen_otel._trail.flush import flush_spool
from kaizen_otel._trail.heads_reconcile import HEADS_BYTES_MAX, read_heads, reconcile_heads
from kaizen_otel._trail.keys import read_trust
from kaizen_otel._trail.reconcile import reconcile as reconcile_spool
from kaizen_otel._trail.streams import spool_status
from kaizen_otel.config import Config

if TYPE_CHECKING:
    from kaizen_otel._trail.heads_reconcile import TrustedHeads
    from kaizen_otel._trail.reconcile import Reconciliation


@click.command()
@spool_option
@trail_option
@json_option
@click.option("--heads", metavar="FILE", help='Compare with what "audit heads --json" printed.')
@click.option(
    "--trust", metavar="FILE", help="Whose heads to believe; else KAIZEN_OTEL_TRUST_FILE."
)
@click.option("--mark", is_flag=True, help="Let agents remove sooner what is in the trail.")
def reconcile(
    *,
    spool: str | None,
    trail: str | None,
    as_json: bool,
    heads: str | None,
    trust: str | None,
    mark: bool,
) -> int:
    """Look up every record of the spool in the trail.

    With --heads FILE (or - for standard input) the trail is not needed here: heads are made where
    it is, for example: ssh collector kaizen-otel audit heads --json | kaizen-otel audit reconcile
    --heads -
    """

    def run() -> int:
        root, filesystem = spool_root(spool), OsFilesystem()
        if heads is None:
            found = reconcile_spool(filesystem, root, needed(trail), is_marking=mark)
        else:
            trusted = _heads(heads, trust, filesystem)
            found = reconcile_heads(filesystem, root, trusted, is_marking=mark)
        if as_json:
            click.echo(json.dumps({"clean": found.is_clean, **asdict(found)}))
            return CLEAN if found.is_clean else INCOMPLETE
        click.echo(_sentence(found, is_trail=heads is None))
        for spooled in found.missing[:SHOWN_MAX]:
            click.echo(f"missing {spooled.record_id} ({spooled.stream_id} {spooled.sequence})")
        for path, what in found.problems[:SHOWN_MAX]:
            click.echo(f"{path}: {what}", err=True)
        return CLEAN if found.is_clean else INCOMPLETE

    return readable(run)


@click.command()
@spool_option
@json_option
def status(*, spool: str | None, as_json: bool) -> int:
    """Show what is stored and what waits for the receiver."""

    def run() -> int:
        found = spool_status(OsFilesystem(), spool_root(spool))
        if as_json:
            click.echo(json.dumps({"waiting": found.waiting, **asdict(found)}))
        else:
            for one in found.streams:
                owner = "in use" if one.is_alive else "left behind"
                click.echo(
                    f"{one.stream_id}  {one.stored} stored, {one.waiting} waiting, "
                    f"{one.bytes_used} bytes, {owner}"
                )
            click.echo(
                f"{found.directory}: {found.waiting} records wait, {found.quarantined} are in "
                "quarantine"
            )
            for path, what in found.problems[:SHOWN_MAX]:
                click.echo(f"{path}: {what}", err=True)
        return INCOMPLETE if found.waiting or found.problems or found.quarantined else CLEAN

    return readable(run)


@click.command(short_help="Deliver what waits in the spool.")
@spool_option
@json_option
@click.option("--wait", is_flag=True, help="Wait until everything is delivered, for preStop hooks.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait at most.")
def flush(*, spool: str | None, as_json: bool, wait: bool, timeout: float) -> int:
    """Deliver what waits in the spool, also what ended processes left there."""

    def run() -> int:
        clock = SystemClock()
        config = Config.from_environment().audit
        found = flush_spool(
            spool_root(spool),
            transport=open_or_explain(config.endpoint, clock=clock),
            filesystem=OsFilesystem(),
            clock=clock,
            random_fraction=shared_ids().fraction,
            warn=lambda text: click.echo(text, err=True),
            timeout_ms=int(timeout * 1000) if wait else 2_000,
        )
        if as_json:
            click.echo(json.dumps(asdict(found)))
        else:
            reason = f" ({found.failure})" if found.failure else ""
            click.echo(f"{found.waiting_before} waited, {found.waiting} wait still{reason}")
        return INCOMPLETE if found.waiting else CLEAN

    return readable(run)


def _sentence(found: Reconciliation, *, is_trail: bool) -> str:
    text = (
        f"{found.spooled} records in the spool: {len(found.missing)} missing in the trail, "
        f"{len(found.waiting)} not delivered yet"
    )
    if is_trail:
        return f"{text}; {found.in_trail} lines in the trail, {found.duplicates} of them again"
    return f"{text}, {found.in_trail} in it; {found.unknown} may be newer than the heads"


def _heads(source: str, trust: str | None, filesystem: OsFilesystem) -> TrustedHeads:
    path = trust_path(trust)
    if path is None:
        raise click.UsageError(
            "whose heads are to be believed? Give --trust FILE or set KAIZEN_OTEL_TRUST_FILE"
        )
    trusted = read_trust(path, filesystem=filesystem, warn=warn)
    if source == "-":
        return read_heads(sys.stdin.buffer.read(HEADS_BYTES_MAX), trust=trusted, source="stdin")
    data = filesystem.read(source, 0, HEADS_BYTES_MAX)
    return read_heads(data, trust=trusted, source=source)
