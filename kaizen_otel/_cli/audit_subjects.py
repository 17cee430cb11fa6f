"""``kaizen-otel audit erase`` and ``audit reveal``: the keys of the people in the trail.

Exit codes: 0 done, 2 a wrong argument, nothing found or not confirmed, 3 something cannot be read,
5 the key store or the spool refused.
"""

from __future__ import annotations

import base64
import json
import sys
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final

import click

from kaizen_otel._cli.audit_common import (
    CLEAN,
    INCOMPLETE,
    access_option,
    folders,
    json_option,
    print_problems,
    readable,
    record_access_if,
    spool_option,
    trail_option,
)
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._subjects import open_subjects
from kaizen_otel._trail.subjects import erase_subject, reveal_records
from kaizen_otel.audit._stored import Report, read_spool, read_trail
from kaizen_otel.audit.query import distinct
from kaizen_otel.config import Config
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from kaizen_otel._subjects import Subjects
    from kaizen_otel._trail.subjects import Revealed
    from kaizen_otel.audit.query import StoredRecord

_BACKUPS: Final = (
    "Copies of the key in backups, snapshots or replicas of KAIZEN_OTEL_SUBJECT_KEYS are yours to "
    "destroy; records from before the keys were switched on keep their HMACs."
)


@click.command(short_help="Destroy a person's key, so that nobody finds them again.")
@click.argument("subject")
@spool_option
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--timeout", default=2.0, show_default=True, help="Seconds to deliver the record.")
def erase(*, subject: str, spool: str | None, as_json: bool, yes: bool, timeout: float) -> int:
    """Destroy the key of SUBJECT, the user's name as the agents gave it ("-": standard input).

    Its records stay in the trail and verify as before, but nobody can find out any more whose
    they are or what was encrypted in them.  This cannot be undone.
    """

    def run() -> int:
        user, config, root = _name(subject), Config.from_environment(), folders(spool, None)[0]
        subjects = _subjects(config, root)
        if not yes and not click.confirm("Destroy this subject's key for ever?", err=True):
            raise click.ClickException("nothing was erased")
        with _master_key():
            erased = erase_subject(
                user,
                subjects=subjects,
                directory=root,
                config=config,
                filesystem=OsFilesystem(),
                clock=SystemClock(),
                warn=_warn,
                deliver_ms=int(timeout * 1000),
            )
        if as_json:
            click.echo(json.dumps({"erased": erased}))
        elif erased:
            click.echo("".join(f"erased subject {one}, its record is stored\n" for one in erased))
            click.echo(_BACKUPS)
        else:
            click.echo("there is no key of this subject: nothing to erase, or it was erased before")
        return CLEAN

    return readable(run)


@click.command("reveal", short_help="Decrypt what is encrypted in records.")
@click.argument("record", required=False)
@click.option("--user", help='All records of this user, as the agents named them ("-": stdin).')
@spool_option
@trail_option
@json_option
@access_option
def reveal(
    *,
    record: str | None,
    user: str | None,
    spool: str | None,
    trail: str | None,
    as_json: bool,
    record_access: bool,
) -> int:
    """Decrypt what is encrypted in RECORD (an audit.record.id), or in all records of a user.

    Needs the keys that KAIZEN_OTEL_SUBJECT_KEYS and KAIZEN_OTEL_SUBJECT_MASTER_KEY name.
    """
    if (record is None) == (user is None):
        raise click.UsageError("give the id of a record, or --user")

    def run() -> int:
        report, (root, folder) = Report(), folders(spool, trail)
        subjects = _subjects(Config.from_environment(), root)
        if user is None:
            keys = list(subjects.all())
        else:
            with _master_key():
                found = subjects.find(_name(user))
            keys = [] if found is None else [found]
        record_access_if(record_access, "reveal", folder or root, root)
        wanted = (
            one
            for one in distinct(_stored(root, folder, report))
            if record is None or one.record_id == record
        )
        count = 0
        for revealed in reveal_records(wanted, keys=keys, subjects=subjects):
            count += 1
            _print(revealed, as_json=as_json)
        print_problems(report)
        if not count:
            click.echo(
                "nothing to reveal: no such record, nothing encrypted in it, or its key is erased",
                err=True,
            )
        return CLEAN if count and not report.count else INCOMPLETE

    return readable(run)


@contextmanager
def _master_key() -> Generator[None]:
    """Say what names the master key if that is what is not there."""
    try:
        yield
    except FileNotFoundError:
        _warn(
            "the agents' master key is needed: KAIZEN_OTEL_SUBJECT_MASTER_KEY names it, else it "
            "is in their spool, which --spool names"
        )
        raise


def _subjects(config: Config, root: str) -> Subjects:
    subjects = open_subjects(
        config.audit,
        directory=root,
        keys=None,
        filesystem=OsFilesystem(),
        clock=SystemClock(),
        warn=_warn,
        may_make=False,
    )
    if subjects is None:
        raise ConfigError(
            "nobody has a key: set KAIZEN_OTEL_SUBJECT_KEYS to the directory that the agents use"
        )
    return subjects


def _stored(root: str, folder: str | None, report: Report) -> Iterator[StoredRecord]:
    filesystem = OsFilesystem()
    stored = read_spool(filesystem, root, report=report)
    if folder is None:
        return stored
    return chain(read_trail(filesystem, folder, report=report), stored)


def _name(given: str) -> str:
    name = sys.stdin.read().removesuffix("\n") if given == "-" else given
    if not name:
        raise click.UsageError("the subject has no name")
    return name


def _print(revealed: Revealed, *, as_json: bool) -> None:
    values = {name: _value(data) for name, data in revealed.values.items()}
    if as_json:
        record = revealed.record
        fields = {"record_id": record.record_id, "event_name": record.event_name}
        click.echo(json.dumps({**fields, "values": values}))
        return
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        # What is shown must not move the cursor of whoever reads it.
        shown = "".join(c if c.isprintable() else "?" for c in text)
        click.echo(f"{revealed.record.record_id}  {name}: {shown}")


def _value(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _warn(text: str) -> None:
    click.echo(text, err=True)
