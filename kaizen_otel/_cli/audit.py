"""``kaizen-otel audit``: ask and follow the trail, compare and empty the spool.

Exit codes: 0 clean, 2 incomplete (something is missing, waiting or unreadable in between),
3 the spool or the trail cannot be read.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from kaizen_otel._edges import OsFilesystem, SystemClock, shared_ids
from kaizen_otel._spool.store import open_or_explain, read_key
from kaizen_otel._trail.flush import flush_spool
from kaizen_otel._trail.reconcile import reconcile as reconcile_spool
from kaizen_otel._trail.streams import spool_status
from kaizen_otel._trail.tail import Tail
from kaizen_otel.audit._content import PREFIX, Pseudonyms
from kaizen_otel.audit._stored import Report, read_spool, read_trail
from kaizen_otel.audit.query import Filter, distinct
from kaizen_otel.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel.audit.query import StoredRecord

CLEAN: Final = 0
INCOMPLETE: Final = 2
UNREADABLE: Final = 3

_NANOSECONDS: Final = 10**9
_AGO: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHOWN_MAX: Final = 20

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_spool = click.option(
    "--spool", metavar="DIR", help="The agent's spool; else KAIZEN_OTEL_SPOOL_DIR or its default."
)
_trail = click.option(
    "--trail", metavar="DIR", help="The folder of audit.jsonl; else KAIZEN_OTEL_AUDIT_DIR."
)


@click.group()
def audit() -> None:
    """Ask and follow the audit trail, compare and empty the spool."""


class _Time(click.ParamType[int]):
    """A moment, as nanoseconds: ISO 8601, or ``15m``, ``2h``, ``7d`` before now."""

    name = "time"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        ago = _AGO.fullmatch(value)
        try:
            if ago:
                moment = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            else:
                moment = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: use for example 2026-11-24T16:00 or 15m", param, ctx)
        return int(moment.timestamp()) * _NANOSECONDS + moment.microsecond * 1000


@audit.command()
@_spool
@_trail
@_json
@click.option("--agent", help="The agent's id or name.")
@click.option("--action", help="tool_execute, EXECUTE or an event's name.")
@click.option("--user", help="The user's name (found by its pseudonym) or the pseudonym.")
@click.option("--result", type=click.Choice(["success", "failure", "denied", "unknown"]))
@click.option("--tool", help="The tool's name.")
@click.option("--trace", "trace_id", help="A trace id in hexadecimal.")
@click.option("--since", type=_Time(), help="From this moment: ISO 8601, or 15m, 2h, 7d ago.")
@click.option("--until", type=_Time(), help="Up to this moment.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many records.")
def query(
    *,
    spool: str | None,
    trail: str | None,
    as_json: bool,
    user: str | None,
    limit: int | None,
    since: int | None,
    until: int | None,
    **asked: str | None,
) -> int:
    """Print the records of spool and trail that are asked for, each once, as they are stored."""

    def run() -> int:
        report, filesystem = Report(), OsFilesystem()
        root, folder = _folders(spool, trail)
        pseudonym = None if user is None else _pseudonym(user, root)
        wanted = Filter(user=pseudonym, since_ns=since, until_ns=until, **asked)
        sources = [read_spool(filesystem, root, report=report)]
        if folder is not None:
            sources.insert(0, read_trail(filesystem, folder, report=report))
        found = distinct(r for source in sources for r in source if wanted.matches(r))
        for count, record in enumerate(found, 1):
            _print_record(record, as_json=as_json)
            if count == limit:
                break
        _print_problems(report)
        return INCOMPLETE if report.count else CLEAN

    return _readable(run)


@audit.command()
@_trail
@_json
@click.option("--from-start", is_flag=True, help="Print what is there already as well.")
@click.option("--once", is_flag=True, help="Stop at the end instead of waiting for more.")
def tail(*, trail: str | None, as_json: bool, from_start: bool, once: bool) -> int:
    """Print records as the Collector writes them, until Ctrl-C."""

    def run() -> int:
        folder = _needed(trail)
        following = Tail(OsFilesystem(), folder, from_start=from_start)
        clock, never = SystemClock(), threading.Event()
        while True:
            for record in following.poll():
                _print_record(record, as_json=as_json)
            _print_problems(following.report)
            if once:
                return INCOMPLETE if following.report.count else CLEAN
            following.report = Report()
            clock.wait(never, _NANOSECONDS // 4)

    return _readable(run)


@audit.command()
@_spool
@_trail
@_json
def reconcile(*, spool: str | None, trail: str | None, as_json: bool) -> int:
    """Look up every record of the spool in the trail."""

    def run() -> int:
        root, _ = _folders(spool, trail)
        found = reconcile_spool(OsFilesystem(), root, _needed(trail))
        if as_json:
            click.echo(json.dumps({"clean": found.is_clean, **asdict(found)}))
        else:
            click.echo(
                f"{found.spooled} records in the spool: {len(found.missing)} missing in the "
                f"trail, {len(found.waiting)} not delivered yet; {found.in_trail} lines in the "
                f"trail, {found.duplicates} of them again"
            )
            for spooled in found.missing[:_SHOWN_MAX]:
                click.echo(f"missing {spooled.record_id} ({spooled.stream_id} {spooled.sequence})")
            for path, what in found.problems[:_SHOWN_MAX]:
                click.echo(f"{path}: {what}", err=True)
        return CLEAN if found.is_clean else INCOMPLETE

    return _readable(run)


@audit.command()
@_spool
@_json
def status(*, spool: str | None, as_json: bool) -> int:
    """Show what is stored and what waits for the receiver."""

    def run() -> int:
        found = spool_status(OsFilesystem(), _folders(spool, None)[0])
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
            for path, what in found.problems[:_SHOWN_MAX]:
                click.echo(f"{path}: {what}", err=True)
        return INCOMPLETE if found.waiting or found.problems or found.quarantined else CLEAN

    return _readable(run)


@audit.command()
@_spool
@_json
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

    return _readable(run)


def _folders(spool: str | None, trail: str | None) -> tuple[str, str | None]:
    config = Config.from_environment().audit
    folder = trail or (None if config.trail_directory is None else str(config.trail_directory))
    return spool or str(config.directory), folder


def _needed(trail: str | None) -> str:
    folder = _folders(None, trail)[1]
    if folder is None:
        raise click.UsageError("which trail? Give --trail DIR or set KAIZEN_OTEL_AUDIT_DIR")
    return folder


def _pseudonym(user: str, root: str) -> str:
    if user.startswith(PREFIX):
        return user
    key = read_key(root, filesystem=OsFilesystem())
    if not key:
        raise click.UsageError(
            f"{root} holds no pseudonym key, so a user cannot be found by name: give --spool of "
            "the agent, or the pseudonym itself"
        )
    return Pseudonyms(key).of(user)


def _readable(run: Callable[[], int]) -> int:
    try:
        return run()
    except OSError as error:
        click.echo(f"error: cannot be read: {error}", err=True)
        return UNREADABLE


def _print_problems(report: Report) -> None:
    for path, what in report.problems[:_SHOWN_MAX]:
        click.echo(f"{path}: {what}", err=True)
    if report.count > _SHOWN_MAX:
        click.echo(f"... and {report.count - _SHOWN_MAX} more", err=True)


def _print_record(record: StoredRecord, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dict(_fields(record)), ensure_ascii=False))
        return
    moment = datetime.fromtimestamp(record.time_ns / _NANOSECONDS, tz=UTC)
    target = record.attributes.get("audit.target.id", "")
    phase = record.attributes.get("kaizen.audit.phase", "")
    words = [record.agent, record.action, str(target), str(phase), record.result, record.user]
    click.echo(f"{moment.isoformat(timespec='milliseconds')}  {'  '.join(filter(None, words))}")


def _fields(record: StoredRecord) -> Iterator[tuple[str, object]]:
    yield "record_id", record.record_id
    yield "time_ns", record.time_ns
    yield "event_name", record.event_name
    yield "agent", record.agent
    yield "action", record.action
    yield "result", record.result
    yield "trace_id", record.trace_id
    yield "span_id", record.span_id
    yield "attributes", dict(record.attributes)
    yield "resource", dict(record.resource)
