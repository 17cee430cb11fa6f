"""What the audit commands share: options, times, exit codes, printing, progress."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kaizen_otel._cli.disk import tell
from kaizen_otel._collector.resources import cache_directory
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._trail.learn import learn_times
from kaizen_otel._trail.range import read_range
from kaizen_otel._trail.times import TimeIndex
from kaizen_otel.audit._content import PREFIX, Pseudonyms
from kaizen_otel.audit.query import Filter
from kaizen_otel.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._signing import Signer
    from kaizen_otel._trail.range import Found
    from kaizen_otel.audit._stored import Report
    from kaizen_otel.audit.query import StoredRecord

CLEAN: Final = 0
TAMPERING: Final = 1
INCOMPLETE: Final = 2
SHOWN_MAX: Final = 20

_TRAIL: Final = "set KAIZEN_OTEL_AUDIT_DIR"
_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{32}")
_NANOSECONDS: Final = 10**9
_MEBIBYTE: Final = 1024 * 1024
_SHOW_EVERY_NS: Final = _NANOSECONDS // 4
_encode: Final = json.JSONEncoder(ensure_ascii=False).encode
_AGO: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
spool_option = click.option(
    "--spool", metavar="DIR", help="The agent's spool; else KAIZEN_OTEL_SPOOL_DIR or its default."
)
trail_option = click.option(
    "--trail", metavar="DIR", help="The folder of audit.jsonl; else KAIZEN_OTEL_AUDIT_DIR."
)


class Time(click.ParamType[int]):
    """A moment, as nanoseconds: ISO 8601, or ``15m``, ``2h``, ``7d`` before now."""

    name = "time"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Turn the text into nanoseconds since the Unix epoch."""
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


class ProgressFilesystem(OsFilesystem):
    """The disk, which tells on standard error how much was read, if that is a terminal.

    ``bytes_read`` counts what was read through it.
    """

    def __init__(self, what: str, *, clock: Clock | None = None) -> None:
        """Begin with nothing shown; ``what`` is the word before the count."""
        super().__init__()
        self.bytes_read = 0
        self._what = what
        self._clock = clock or SystemClock()
        self._is_shown = sys.stderr.isatty()
        self._shown_ns = self._clock.monotonic_ns() if self._is_shown else 0
        self._width = 0

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Read and count."""
        data = super().read(path, offset, size)
        self.bytes_read += len(data)
        if self._is_shown and self._clock.monotonic_ns() - self._shown_ns > _SHOW_EVERY_NS:
            self._shown_ns = self._clock.monotonic_ns()
            text = f"{self._what}: {self.bytes_read // _MEBIBYTE} MiB"
            click.echo(f"\r{text.ljust(self._width)}", nl=False, err=True)
            self._width = len(text)
        return data

    def end(self) -> None:
        """Take the line away again."""
        if self._width:
            click.echo(f"\r{' ' * self._width}\r", nl=False, err=True)
            self._width = 0


def filter_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options with which records are chosen; ``filter_of`` takes their values."""
    results = click.Choice(["success", "failure", "denied", "unknown"])
    for option in (
        click.option("--trace", "trace_id", help="A trace id in hexadecimal."),
        click.option("--tool", help="The tool's name."),
        click.option("--result", type=results, help="How it ended."),
        click.option("--user", help="The user's name (found by its pseudonym) or the pseudonym."),
        click.option("--action", help="tool_execute, EXECUTE or an event's name."),
        click.option("--agent", help="The agent's id or name."),
    ):
        command = option(command)
    return command


def range_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that bound the time."""
    since, until = "From this moment: ISO 8601, or 15m, 2h, 7d ago.", "Up to this moment."
    return click.option("--since", type=Time(), help=since)(
        click.option("--until", type=Time(), help=until)(command)
    )


def filter_of(
    root: str,
    asked: Mapping[str, str | None],
    *,
    since: int | None = None,
    until: int | None = None,
) -> Filter:
    """Return the filter that the options mean; ``root`` is the spool whose key finds a user.

    Raises ``click.UsageError`` if a user cannot be found by name, and for what nothing can match.
    """
    user, trace_id = asked["user"], asked["trace_id"]
    if trace_id is not None and not _TRACE_ID.fullmatch(trace_id):
        raise click.UsageError(f"--trace {trace_id}: a trace id has 32 hexadecimal digits")
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until: no record can lie between")
    if user is not None and not user.startswith(PREFIX):
        user = pseudonym_of_user(root, user)
    return Filter(
        user=user,
        since_ns=since,
        until_ns=until,
        trace_id=None if trace_id is None else trace_id.lower(),
        **{name: asked[name] for name in ("agent", "action", "result", "tool")},
    )


def pseudonym_of_user(root: str, user: str) -> str:
    """Return what stands for a user in the trail: made with a key of their own if they have one.

    Raises ``click.UsageError`` if the user cannot be found by name.
    """
    from kaizen_otel._subjects import open_subjects

    subjects = open_subjects(
        Config.from_environment().audit,
        directory=root,
        keys=None,
        filesystem=OsFilesystem(),
        clock=SystemClock(),
        warn=lambda text: click.echo(text, err=True),
        may_make=False,
    )
    own = None
    # Without a master key nobody has a key of their own yet.
    with contextlib.suppress(FileNotFoundError):
        own = None if subjects is None else subjects.pseudonym(user)
    return own or pseudonyms_of(root).of(user)


def pseudonyms_of(root: str) -> Pseudonyms:
    """Return what makes pseudonyms with the key of a spool; ``click.UsageError`` if it has none."""
    from kaizen_otel._spool.store import read_key  # loads the emitter

    key = read_key(root, filesystem=OsFilesystem())
    if not key:
        raise click.UsageError(
            f"{root} holds no pseudonym key, so nobody can be found by name: give --spool of "
            "the agent, or ask for the pseudonym itself"
        )
    return Pseudonyms(key)


def trail_range(
    filesystem: Filesystem, folder: str, asked: Filter, *, report: Report, has_index: bool = True
) -> Iterator[Found]:
    """``read_range`` with the index of trails in this user's cache folder.

    A question with a beginning first learns what the index does not know.
    """
    if not has_index:
        return read_range(filesystem, folder, asked, report=report)
    directory = str(cache_directory(os.environ) / "trails")
    index = TimeIndex(directory, filesystem=filesystem, clock=SystemClock())
    if asked.since_ns is not None:
        learn_times(index, filesystem, folder)
    return read_range(filesystem, folder, asked, report=report, index=index)


def access_option(command: Callable[..., int]) -> Callable[..., int]:
    """Add the option that has the trail say who asked it; ``record_access_if`` does so."""
    return click.option(
        "--record-access",
        is_flag=True,
        envvar="KAIZEN_OTEL_AUDIT_ACCESS_RECORDS",
        help="Write a record that the trail was read; also KAIZEN_OTEL_AUDIT_ACCESS_RECORDS=true.",
    )(command)


def record_access_if(is_asked: bool, how: str, what: str, root: str) -> None:  # noqa: FBT001
    """Write the record before anything is shown, or raise: then nothing is."""
    if not is_asked:
        return
    from kaizen_otel._trail.access import record_access  # loads the emitter

    record_access(
        how,
        what,
        directory=root,
        config=Config.from_environment(),
        filesystem=OsFilesystem(),
        clock=SystemClock(),
        warn=warn,
    )


def signer_of(key: str | None, root: str) -> Signer:
    """Return the key that ``--key`` names, else the one that agents with this spool sign with.

    Raises ``ConfigError`` if there is none or it cannot be used; never makes one.
    """
    from kaizen_otel._signing import own_key_path, signer_from_file, signer_named

    setting = Config.from_environment().audit.signing_key
    filesystem = OsFilesystem()
    if key is None and setting is not None:
        return signer_named(setting, filesystem=filesystem, warn=warn)
    return signer_from_file(key or own_key_path(root), filesystem=filesystem, warn=warn)


def trust_path(trust: str | None) -> str | None:
    """Return the trust file that is meant, or None if there is none."""
    named = Config.from_environment().audit.trust_file
    return trust or (None if named is None else str(named))


def warn(text: str) -> None:
    """Tell the user on standard error."""
    click.echo(f"warning: {text}", err=True)


def folders(spool: str | None, trail: str | None) -> tuple[str, str | None]:
    """Return the spool root and the trail folder that are meant, by argument or environment."""
    config = Config.from_environment().audit
    folder = trail or (None if config.trail_directory is None else str(config.trail_directory))
    return spool or str(config.directory), folder


def spool_root(spool: str | None) -> str:
    """Return the spool root; one that was named must be there, or ``FileNotFoundError`` is raised.

    That of the environment need not: no agent may have begun yet.
    """
    if spool is not None and not Path(spool).exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), spool)
    return folders(spool, None)[0]


def needed(trail: str | None) -> str:
    """Return the trail folder; raises ``click.UsageError`` if none is named."""
    folder = folders(None, trail)[1]
    if folder is None:
        raise click.UsageError(f"which trail? Give --trail DIR or {_TRAIL}")
    return no_file(folder)


def no_file(folder: str) -> str:
    """Return the trail folder; raises ``click.UsageError`` if it is one of its files."""
    if Path(folder).is_file():
        raise click.UsageError(f"{folder} is a file: give --trail its folder, or {_TRAIL}")
    return folder


def readable(run: Callable[[], int]) -> int:
    """Run a command; a folder or file that cannot be read is exit code 3, with a word why."""
    try:
        return run()
    except BrokenPipeError:
        raise  # whoever reads our output has enough: that is no fault of the trail
    except OSError as error:
        return tell(error)


def print_problems(report: Report) -> None:
    """Print what could not be read, on standard error, the first few of it."""
    for path, what in report.problems[:SHOWN_MAX]:
        click.echo(f"{path}: {what}", err=True)
    if report.count > SHOWN_MAX:
        click.echo(f"... and {report.count - SHOWN_MAX} more", err=True)


def print_record(record: StoredRecord, *, as_json: bool) -> None:
    """Print one record: a line for people, or one JSON object."""
    # Not `click.echo`, which flushes every line: thousands of them are common here.
    if as_json:
        fields = dict(_fields(record))
        try:
            sys.stdout.write(_encode(fields) + "\n")
        except UnicodeEncodeError:  # half a character, or a terminal that knows few
            sys.stdout.write(json.dumps(fields) + "\n")
        return
    moment = datetime.fromtimestamp(record.time_ns / _NANOSECONDS, tz=UTC)
    target = record.attributes.get("audit.target.id", "")
    phase = record.attributes.get("kaizen.audit.phase", "")
    words = [record.agent, record.action, str(target), str(phase), record.result, record.user]
    text = f"{moment.isoformat(timespec='milliseconds')}  {'  '.join(filter(None, words))}"
    # A name in a record must not move the cursor of whoever reads it.
    click.echo("".join(c if c.isprintable() else "?" for c in text))


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
