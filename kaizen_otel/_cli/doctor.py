"""``kaizen-otel doctor``: parse, call, print."""

from __future__ import annotations

import json

import click


@click.command(short_help="Send one of each signal and say where it arrived.")
@click.option("--jaeger", metavar="URL", help="Jaeger's query address, e.g. http://127.0.0.1:16686")
@click.option("--prometheus", metavar="URL", help="e.g. http://127.0.0.1:9090")
@click.option("--elasticsearch", metavar="URL", help="e.g. http://127.0.0.1:9200")
@click.option("--json", "as_json", is_flag=True, help="Print findings as JSON.")
@click.pass_context
def doctor(
    context: click.Context,
    *,
    jaeger: str | None,
    prometheus: str | None,
    elasticsearch: str | None,
    as_json: bool,
) -> None:
    """Send one span, metric, log and audit record and say where each arrived.

    The audit record is signed with the agents' key; before there is one, and in the spool of
    another user, the receiver is only asked.  Exit code 0 when all is well, 1 when there is an
    error.
    """
    from kaizen_otel._doctor import examine
    from kaizen_otel._doctor_findings import worst

    findings = examine(jaeger=jaeger, prometheus=prometheus, elasticsearch=elasticsearch)
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.level.upper():8}{finding.subject}: {finding.message}")
            if finding.fix and finding.level != "ok":
                click.echo(f"        fix: {finding.fix}")
    context.exit(1 if worst(findings) == "error" else 0)
