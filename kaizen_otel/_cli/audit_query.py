"""``kaizen-otel audit query``, ``tail`` and ``pseudonym``: ask and follow the trail."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kaizen_otel._cli.audit_common import (
    CLEAN,
    INCOMPLETE,
    ProgressFilesystem,
    access_option,
    filter_of,
    filter_options,
    folders,
    json_option,
    needed,
    no_file,
    print_problems,
    print_record,
    pseudonyms_of,
    range_options,
    readable,
    record_access_if,
    spool_option,
    trail_option,
    trail_range,
    warn,
)
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._trail.tail import Tail
from kaizen_otel.audit._stored import Report, read_spool
from kaizen_otel.audit.query import distinct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel.audit.query import StoredRecord

_POLL_NS: Final = 10**9 // 4


@click.command(short_help="Print the records that are asked for.")
@spool_option
@trail_option
@json_option
@filter_options
@range_options
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("--no-index", is_flag=True, help="Read the whole trail, use no index of it.")
@access_option
def query(
    *,
    spool: str | None,
    trail: str | None,
    as_json: bool,
    limit: int | None,
    no_index: bool,
    record_access: bool,
    since: int | None,
    until: int | None,
    **asked: str | None,
) -> int:
    """Print the records of spool and trail that are asked for, each once, as they are stored.

    The first question reads all of the trail and notes in the cache folder which times are where;
    later ones with --since read only what they need.
    """

    def run() -> int:
        report, filesystem = Report(), ProgressFilesystem("read")
        root, folder = folders(spool, trail)
        wanted = filter_of(root, asked, since=since, until=until)
        record_access_if(record_access, "query", folder or root, root)
        waiting = (r for r in read_spool(filesystem, root, report=report) if wanted.matches(r))
        stored: Iterator[StoredRecord] = iter(())
        if folder is not None:
            found_in_trail = trail_range(
                filesystem, no_file(folder), wanted, report=report, has_index=not no_index
            )
            stored = (found.record for found in found_in_trail)
        found = distinct(chain(stored, waiting))
        for record in islice(found, limit):
            filesystem.end()
            print_record(record, as_json=as_json)
        filesystem.end()
        print_problems(report)
        return INCOMPLETE if report.count else CLEAN

    return readable(run)


@click.command()
@spool_option
@trail_option
@json_option
@filter_options
@click.option("--from-start", is_flag=True, help="Print what is there already as well.")
@click.option("--once", is_flag=True, help="Stop at the end instead of waiting for more.")
def tail(
    *,
    spool: str | None,
    trail: str | None,
    as_json: bool,
    from_start: bool,
    once: bool,
    **asked: str | None,
) -> int:
    """Print records as the Collector writes them, until Ctrl-C."""

    def run() -> int:
        folder = needed(trail)
        is_there = Path(folder).is_dir()
        if not is_there:
            _wait_for(folder, is_waiting=not once)
        wanted = filter_of(folders(spool, None)[0], asked)
        following = Tail(OsFilesystem(), folder, from_start=from_start or not is_there)
        clock, never = SystemClock(), threading.Event()
        while True:
            for record in following.poll():
                if wanted.matches(record):
                    print_record(record, as_json=as_json)
            sys.stdout.flush()
            print_problems(following.report)
            if once:
                return INCOMPLETE if following.report.count else CLEAN
            following.report = Report()
            clock.wait(never, _POLL_NS)

    return readable(run)


def _wait_for(folder: str, *, is_waiting: bool) -> None:
    """Say that there is no trail yet, which a slip of the pen looks like; or raise."""
    if not is_waiting:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
    warn(f"{folder} is not there yet: waiting for it")


@click.command(short_help="Print what stands in the trail for a name or a value.")
@click.argument("value")
@spool_option
@json_option
@click.option("--parse", is_flag=True, help="VALUE is JSON, as a tool's arguments are.")
def pseudonym(*, value: str, spool: str | None, as_json: bool, parse: bool) -> int:
    """Print what stands in the trail for VALUE, made with the key of this agent's spool.

    With "-" VALUE is read from standard input, without its last line end, so that it stands in no
    shell history.
    """

    def run() -> int:
        text = sys.stdin.read().removesuffix("\n") if value == "-" else value
        try:
            content: object = json.loads(text) if parse else text
        except ValueError as error:
            raise click.UsageError(f"VALUE is no JSON: {error}; leave --parse out") from error
        found = pseudonyms_of(folders(spool, None)[0]).of(content)
        click.echo(json.dumps({"pseudonym": found}) if as_json else found)
        return CLEAN

    return readable(run)
