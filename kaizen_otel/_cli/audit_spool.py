"""``kaizen-otel audit reconcile``, ``status`` and ``flush``: compare, look at, empty the spool."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from kaizen_otel._cli.audit_common import (
    CLEAN,
    INCOMPLETE,
    SHOWN_MAX,
    folders,
    json_option,
    needed,
    readable,
    spool_option,
    trail_option,
)
from kaizen_otel._edges import OsFilesystem, SystemClock, shared_ids
from kaizen_otel._spool.store import open_or_explain
from kaizen_otel._trail.flush import flush_spool
from kaizen_otel._trail.reconcile import reconcile as reconcile_spool
from kaizen_otel._trail.streams import spool_status
from kaizen_otel.config import Config


@click.command()
@spool_option
@trail_option
@json_option
def reconcile(*, spool: str | None, trail: str | None, as_json: bool) -> int:
    """Look up every record of the spool in the trail."""

    def run() -> int:
        root, _ = folders(spool, trail)
        found = reconcile_spool(OsFilesystem(), root, needed(trail))
        if as_json:
            click.echo(json.dumps({"clean": found.is_clean, **asdict(found)}))
        else:
            click.echo(
                f"{found.spooled} records in the spool: {len(found.missing)} missing in the "
                f"trail, {len(found.waiting)} not delivered yet; {found.in_trail} lines in the "
                f"trail, {found.duplicates} of them again"
            )
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
        found = spool_status(OsFilesystem(), folders(spool, None)[0])
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


@click.command()
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
            spool or str(config.directory),
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
