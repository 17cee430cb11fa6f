"""``kaizen-otel audit query``, ``tail`` and ``pseudonym``: ask and follow the trail."""

from __future__ import annotations

import json
import sys
import threading
from typing import Final

import click

from kaizen_otel._cli.audit_common import (
    CLEAN,
    INCOMPLETE,
    Time,
    folders,
    json_option,
    needed,
    print_problems,
    print_record,
    readable,
    spool_option,
    trail_option,
)
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._spool.store import read_key
from kaizen_otel._trail.tail import Tail
from kaizen_otel.audit._content import PREFIX, Pseudonyms
from kaizen_otel.audit._stored import Report, read_spool, read_trail
from kaizen_otel.audit.query import Filter, distinct

_POLL_NS: Final = 10**9 // 4


@click.command()
@spool_option
@trail_option
@json_option
@click.option("--agent", help="The agent's id or name.")
@click.option("--action", help="tool_execute, EXECUTE or an event's name.")
@click.option("--user", help="The user's name (found by its pseudonym) or the pseudonym.")
@click.option("--result", type=click.Choice(["success", "failure", "denied", "unknown"]))
@click.option("--tool", help="The tool's name.")
@click.option("--trace", "trace_id", help="A trace id in hexadecimal.")
@click.option("--since", type=Time(), help="From this moment: ISO 8601, or 15m, 2h, 7d ago.")
@click.option("--until", type=Time(), help="Up to this moment.")
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
        root, folder = folders(spool, trail)
        pseudonym = None if user is None else _pseudonym(user, root)
        wanted = Filter(user=pseudonym, since_ns=since, until_ns=until, **asked)
        sources = [read_spool(filesystem, root, report=report)]
        if folder is not None:
            sources.insert(0, read_trail(filesystem, folder, report=report))
        found = distinct(r for source in sources for r in source if wanted.matches(r))
        for count, record in enumerate(found, 1):
            print_record(record, as_json=as_json)
            if count == limit:
                break
        print_problems(report)
        return INCOMPLETE if report.count else CLEAN

    return readable(run)


@click.command()
@trail_option
@json_option
@click.option("--from-start", is_flag=True, help="Print what is there already as well.")
@click.option("--once", is_flag=True, help="Stop at the end instead of waiting for more.")
def tail(*, trail: str | None, as_json: bool, from_start: bool, once: bool) -> int:
    """Print records as the Collector writes them, until Ctrl-C."""

    def run() -> int:
        folder = needed(trail)
        following = Tail(OsFilesystem(), folder, from_start=from_start)
        clock, never = SystemClock(), threading.Event()
        while True:
            for record in following.poll():
                print_record(record, as_json=as_json)
            print_problems(following.report)
            if once:
                return INCOMPLETE if following.report.count else CLEAN
            following.report = Report()
            clock.wait(never, _POLL_NS)

    return readable(run)


@click.command()
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
        found = _pseudonyms(folders(spool, None)[0]).of(content)
        click.echo(json.dumps({"pseudonym": found}) if as_json else found)
        return CLEAN

    return readable(run)


def _pseudonym(user: str, root: str) -> str:
    return user if user.startswith(PREFIX) else _pseudonyms(root).of(user)


def _pseudonyms(root: str) -> Pseudonyms:
    key = read_key(root, filesystem=OsFilesystem())
    if not key:
        raise click.UsageError(
            f"{root} holds no pseudonym key, so nobody can be found by name: give --spool of "
            "the agent, or ask for the pseudonym itself"
        )
    return Pseudonyms(key)
