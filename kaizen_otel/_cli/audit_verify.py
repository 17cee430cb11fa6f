"""``kaizen-otel audit verify``: whether a trail is what its agents wrote.

Exit codes are API: 0 clean, 1 tampering (something was altered, added or is signed by a wrong key),
2 incomplete (something is missing, or a wrong argument), 3 nothing could be verified.  Notes do not
change the code.  Tampering wins over incomplete, and that over unreadable.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Final, cast

import click

from kaizen_otel._cli.audit_common import SHOWN_MAX, Time, folders, json_option, trust_path, warn
from kaizen_otel._edges import OsFilesystem, SystemClock, shared_ids
from kaizen_otel._trail.keys import read_trust
from kaizen_otel._trail.verify import Settings, Sources
from kaizen_otel._trail.verify import verify as verify_trail
from kaizen_otel._trail.verify_words import finding_lines, verdict_json, verdict_lines
from kaizen_otel.config import Config

if TYPE_CHECKING:
    from kaizen_otel.audit.verify import SignatureMode, Verdict

_MEBIBYTE: Final = 1024 * 1024
_SHOW_EVERY_NS: Final = 10**9 // 4


@click.command(short_help="Say whether a trail is what its agents wrote.")
@click.argument("trails", metavar="[TRAIL]...", nargs=-1)
@click.option("--spool", "spools", metavar="DIR", multiple=True, help="Verify a spool as well.")
@click.option(
    "--anchors",
    metavar="FILE",
    multiple=True,
    help="An anchor file, the Collector's logs.jsonl, heads, or a search answer of the store.",
)
@click.option("--trust", metavar="FILE", help="Whose keys to believe; else KAIZEN_OTEL_TRUST_FILE.")
@click.option("--since", type=Time(), help="Findings from this moment on: ISO 8601, or 2h, 7d ago.")
@click.option("--until", type=Time(), help="Findings up to this moment.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes that check signatures; else one for each processor.",
)
@click.option(
    "--signatures",
    type=click.Choice(["all", "last", "none"]),
    default="all",
    show_default=True,
    help="Which to check; the last one of a stream covers the chain before it.",
)
@click.option("--emit", is_flag=True, help="Send the verdict as metrics to the OTLP endpoint.")
@json_option
def verify(
    *,
    trails: tuple[str, ...],
    spools: tuple[str, ...],
    anchors: tuple[str, ...],
    trust: str | None,
    since: int | None,
    until: int | None,
    jobs: int | None,
    signatures: str,
    emit: bool,
    as_json: bool,
) -> int:
    """Verify trails: folders with audit.jsonl, or files; else the one of KAIZEN_OTEL_AUDIT_DIR.

    Finds records that were changed, removed, added or signed by a wrong key; with --anchors also
    cut ends and streams that are gone.  0 clean, 1 tampering, 2 incomplete, 3 nothing verified.
    """
    filesystem = OsFilesystem()
    named = trust_path(trust)
    progress = _Progress()
    verdict = verify_trail(
        Sources(trails=trails or _default(spools), spools=spools, anchors=anchors),
        settings=Settings(
            trust=None if named is None else read_trust(named, filesystem=filesystem, warn=warn),
            mode=cast("SignatureMode", signatures),
            jobs=jobs or os.cpu_count() or 1,
            since_ns=since,
            until_ns=until,
            on_read=progress.add,
        ),
        filesystem=filesystem,
    )
    progress.end()
    if as_json:
        shown = verdict_json(verdict, had_anchors=bool(anchors))
        click.echo(json.dumps(shown, ensure_ascii=False))
    else:
        _print(verdict, had_anchors=bool(anchors))
    if emit and not _emit(verdict):
        warn("the verdict was NOT sent as metrics: see OTEL_EXPORTER_OTLP_ENDPOINT")
    return verdict.exit_code


def _default(spools: tuple[str, ...]) -> tuple[str, ...]:
    folder = folders(None, None)[1]
    if folder is not None:
        return (folder,)
    if not spools:
        raise click.UsageError(
            "which trail? Name its folder or files, or set KAIZEN_OTEL_AUDIT_DIR"
        )
    return ()


def _print(verdict: Verdict, *, had_anchors: bool) -> None:
    """Print findings, the first of each severity, then the verdict."""
    for severity in ("note", "incomplete", "tampering"):
        found = [finding for finding in verdict.findings if finding.severity == severity]
        for finding in found[:SHOWN_MAX]:
            for line in finding_lines(finding):
                click.echo(line)
        more = verdict.count(severity) - min(len(found), SHOWN_MAX)
        if more:
            click.echo(f"... and {more:,} more findings of this severity: see --json")
    for line in verdict_lines(verdict, had_anchors=had_anchors):
        click.echo(line)


def _emit(verdict: Verdict) -> bool:
    from kaizen_otel._trail.verify_emit import emit

    return emit(verdict, config=Config.from_environment(), clock=SystemClock(), ids=shared_ids())


class _Progress:
    """Tells on standard error how much was read, if that is a terminal."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._is_shown = sys.stderr.isatty()
        self._bytes = 0
        self._shown_ns = self._clock.monotonic_ns()
        self._width = 0

    def add(self, size: int) -> None:
        self._bytes += size
        if self._is_shown and self._clock.monotonic_ns() - self._shown_ns > _SHOW_EVERY_NS:
            self._shown_ns = self._clock.monotonic_ns()
            text = f"verifying: {self._bytes // _MEBIBYTE:,} MiB"
            click.echo(f"\r{text.ljust(self._width)}", nl=False, err=True)
            self._width = len(text)

    def end(self) -> None:
        if self._width:
            click.echo(f"\r{' ' * self._width}\r", nl=False, err=True)
            self._width = 0
