"""``kaizen-otel audit report``: what the trail shows for a framework's requirements.

Exit codes: 0 done, whatever the report says; 2 something could not be read in between, or a wrong
argument; 3 the trail cannot be read.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kaizen_otel._cli.audit_common import (
    CLEAN,
    INCOMPLETE,
    ProgressFilesystem,
    access_option,
    folders,
    json_option,
    needed,
    print_problems,
    range_options,
    readable,
    record_access_if,
    spool_option,
    trail_option,
    trail_range,
    trust_path,
    warn,
)
from kaizen_otel._trail.judged import judge_trail
from kaizen_otel.audit._facts import Facts
from kaizen_otel.audit._stored import Report
from kaizen_otel.audit.query import Filter, distinct
from kaizen_otel.audit.report import FRAMEWORKS
from kaizen_otel.audit.report import report as report_of

if TYPE_CHECKING:
    from kaizen_otel.audit.report import ComplianceReport, Framework


@click.command(short_help="Say what the trail shows for a framework's requirements.")
@spool_option
@trail_option
@json_option
@range_options
@click.option(
    "--framework", type=click.Choice(FRAMEWORKS), required=True, help="Whose requirements."
)
@click.option("--trust", metavar="FILE", help="The trust file; else KAIZEN_OTEL_TRUST_FILE.")
@click.option("--anchors", metavar="FILE", multiple=True, help="Anchors to compare with.")
@access_option
def report(
    *,
    spool: str | None,
    trail: str | None,
    as_json: bool,
    since: int | None,
    until: int | None,
    framework: Framework,
    trust: str | None,
    anchors: tuple[str, ...],
    record_access: bool,
) -> int:
    """Say, requirement by requirement, what the trail shows: met, not met, or not shown.

    --since and --until choose the records that are counted; the whole trail is verified.
    """

    def run() -> int:
        folder = needed(trail)
        filesystem, problems, facts = ProgressFilesystem("read"), Report(), Facts()
        record_access_if(record_access, "report", folder, folders(spool, None)[0])
        asked = Filter(since_ns=since, until_ns=until)
        found = trail_range(filesystem, folder, asked, report=problems)
        for record in distinct(one.record for one in found):
            facts.add(record)
        verdict = judge_trail(
            filesystem,
            folder,
            trust_path=trust_path(trust),
            anchor_paths=anchors,
            warn=warn,
            jobs=os.cpu_count() or 1,
        )
        filesystem.end()
        made = report_of(framework, facts, verdict)
        if as_json:
            click.echo(json.dumps({**asdict(made), "facts": facts.as_object()}))
        else:
            _print(made)
        print_problems(problems)
        return INCOMPLETE if problems.count else CLEAN

    return readable(run)


def _print(made: ComplianceReport) -> None:
    click.echo(f"{made.title}: what this trail shows\n")
    for entry in made.entries:
        click.echo(f"{entry.status.upper():9}  {entry.requirement}  {entry.text}")
        for text in entry.evidence:
            click.echo(f"{'':11}{text}")
    click.echo(
        f"\n{made.count('met')} met, {made.count('not met')} not met, "
        f"{made.count('not shown')} not shown by this trail; verify says {made.verdict_exit_code}"
    )
    for note in made.notes:
        click.echo(note)
