"""``kaizen-otel audit export``: records for other programs, and signed evidence.

Exit codes: 0 done, 1 a bundle was changed (``--check``), 2 something could not be read in between
or a wrong argument, 3 the trail cannot be read.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from kaizen_otel._cli.audit_common import (
    CLEAN,
    INCOMPLETE,
    TAMPERING,
    ProgressFilesystem,
    access_option,
    filter_of,
    filter_options,
    folders,
    json_option,
    needed,
    print_problems,
    range_options,
    readable,
    record_access_if,
    signer_of,
    spool_option,
    trail_option,
    trail_range,
    trust_path,
    warn,
)
from kaizen_otel._edges import SystemClock
from kaizen_otel._trail.evidence import check_bundle, write_bundle
from kaizen_otel._trail.formats import FORMATS, encode_records
from kaizen_otel._trail.output import whole_file
from kaizen_otel.audit import record as names
from kaizen_otel.audit._duplicates import Duplicates
from kaizen_otel.audit._stored import Report
from kaizen_otel.audit.trust import Trust, TrustedKey, encode_trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._trail.formats import Format
    from kaizen_otel._trail.range import Found
    from kaizen_otel.audit.query import StoredRecord

_FILE = click.Path(dir_okay=False)


@click.command()
@spool_option
@trail_option
@json_option
@filter_options
@range_options
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="jsonl",
    show_default=True,
    help="How records are written.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=_FILE,
    help="Write FILE, whole or not at all; else to the terminal.",
)
@click.option(
    "--bundle", metavar="FILE", type=_FILE, help="Write signed evidence as FILE.tar.gz instead."
)
@click.option("--check", metavar="FILE", help="Check a bundle instead.")
@click.option("--key", metavar="FILE", help="The key that signs a bundle; else the agents' key.")
@click.option("--trust", metavar="FILE", help="The trust file; else KAIZEN_OTEL_TRUST_FILE.")
@click.option("--anchors", metavar="FILE", multiple=True, help="Anchors for the verdict.")
@access_option
def export(
    *,
    spool: str | None,
    trail: str | None,
    as_json: bool,
    form: Format,
    out: str | None,
    bundle: str | None,
    check: str | None,
    key: str | None,
    trust: str | None,
    anchors: tuple[str, ...],
    record_access: bool,
    since: int | None,
    until: int | None,
    **asked: str | None,
) -> int:
    """Write the records of the trail that are asked for, each once.

    --format csv puts a ' before cells that a spreadsheet would take for a formula.  --bundle
    writes the trail's own lines, the verdict of verify, keys, anchors and a signed manifest.
    """
    if check is not None:
        return readable(lambda: _check(check, as_json=as_json))

    def run() -> int:
        folder, root = needed(trail), folders(spool, None)[0]
        filesystem, report = ProgressFilesystem("read"), Report()
        wanted = filter_of(root, asked, since=since, until=until)
        record_access_if(record_access, "export", folder, root)
        found = _each_once(trail_range(filesystem, folder, wanted, report=report))
        if bundle is not None:
            # A user by the pseudonym: a name has no business in evidence.
            words = {**asked, "user": wanted.user}
            question = {name: value for name, value in words.items() if value is not None}
            question |= {} if since is None else {"since_unix_nano": str(since)}
            question |= {} if until is None else {"until_unix_nano": str(until)}
            _bundle(
                bundle,
                found,
                _Judging(folder, root, key, trust, anchors),
                question=question,
                filesystem=filesystem,
                as_json=as_json,
            )
        elif out is not None:
            count = _to_file(out, found, form, filesystem)
            text = json.dumps({"path": out, "records": count}) if as_json else f"{count} records"
            click.echo(text)
        else:
            for text in encode_records((one.record for one in found), form):
                sys.stdout.write(text)
        filesystem.end()
        print_problems(report)
        return INCOMPLETE if report.count else CLEAN

    return readable(run)


class _Judging(NamedTuple):
    """What the verdict in a bundle is made from, and who signs."""

    folder: str
    root: str
    key: str | None
    trust: str | None
    anchors: tuple[str, ...]


def _each_once(found: Iterable[Found]) -> Iterator[Found]:
    duplicates = Duplicates()
    for one in found:
        record, attributes = one.record, one.record.attributes
        place = attributes.get(names.STREAM_ID), attributes.get(names.SEQUENCE)
        if duplicates.is_new(record.record_id, *place):
            yield one


def _to_file(out: str, found: Iterable[Found], form: Format, filesystem: Filesystem) -> int:
    count = 0

    def counted() -> Iterator[StoredRecord]:
        nonlocal count
        for one in found:
            count += 1
            yield one.record

    with whole_file(filesystem, out) as output:
        for text in encode_records(counted(), form):
            output.write(text.encode())
    return count


def _bundle(
    path: str,
    found: Iterable[Found],
    judging: _Judging,
    *,
    question: dict[str, str],
    filesystem: Filesystem,
    as_json: bool,
) -> None:
    from kaizen_otel._trail.judged import judge_trail, published_keys
    from kaizen_otel._trail.verify_words import verdict_json

    signer = signer_of(judging.key, judging.root)
    verdict = judge_trail(
        filesystem,
        judging.folder,
        trust_path=trust_path(judging.trust),
        anchor_paths=judging.anchors,
        warn=warn,
        jobs=os.cpu_count() or 1,
    )
    names = [f"{number}-{Path(one).name}" for number, one in enumerate(judging.anchors, 1)]
    files = [filesystem.read(one, 0, filesystem.size(one)) for one in judging.anchors]
    now = datetime.now(UTC)
    keys = [
        TrustedKey(public_key=public_key, name="used in the trail", added=now)
        for key_id, public_key in sorted(published_keys(filesystem, judging.folder).items())
        if key_id in verdict.key_ids
    ]
    done = write_bundle(
        path,
        found,
        signer=signer,
        filesystem=filesystem,
        clock=SystemClock(),
        question=question,
        verdict=json.dumps(verdict_json(verdict), indent=1).encode() + b"\n",
        keys=encode_trust(Trust(keys=tuple(keys))),
        anchors=dict(zip(names, files, strict=True)),
    )
    if as_json:
        click.echo(json.dumps({**asdict(done), "verdict": verdict.exit_code}))
        return
    click.echo(
        f"{done.path}: {done.records} records in {done.lines} lines of the trail, signed by "
        f"{done.key_id}; the verdict in it has exit code {verdict.exit_code} (0: clean)"
    )


def _check(path: str, *, as_json: bool) -> int:
    with Path(path).open("rb") as file:
        checked = check_bundle(file)
    if as_json:
        click.echo(json.dumps({"clean": checked.is_clean, **asdict(checked)}))
    else:
        for problem in checked.problems:
            click.echo(problem)
        if checked.is_clean:
            click.echo(f"{checked.members} members as signed by key {checked.key_id}")
    return CLEAN if checked.is_clean else TAMPERING
