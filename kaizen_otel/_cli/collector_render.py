"""``kaizen-otel collector render``: a shipped config with overlays, merged and judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kaizen_otel._collector.lint_format import as_text
from kaizen_otel._collector.render import overlays, render
from kaizen_otel._collector.resources import SHIPPED_CONFIGS
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from kaizen_otel._collector.overlays import Overlay


@click.command("render", short_help="Merge a shipped config with overlays.")
@click.argument("base", required=False, metavar="[CONFIG]")
@click.option("--overlay", "names", multiple=True, metavar="NAME", help="Add an overlay; repeat.")
@click.option("--output", metavar="FILE", help="Write here instead of to standard output.")
@click.option("--list", "as_list", is_flag=True, help="List the overlays (of CONFIG) and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def render_command(
    context: click.Context,
    /,
    *,
    base: str | None,
    names: tuple[str, ...],
    output: str | None,
    as_list: bool,
    as_json: bool,
) -> None:
    """Merge a shipped config with overlays as the Collector does, and judge the result.

    CONFIG is dev, gateway, agent or audit.  Exit codes: 0 clean, 1 the linter objects (its
    findings go to standard error), 2 overlays that do not go together.
    """
    if as_list:
        click.echo(_listed(base, as_json=as_json))
        return
    if base is None:
        raise click.UsageError(f"name a config, one of {', '.join(SHIPPED_CONFIGS)}, or --list")
    rendered = render(base, names)
    if output is not None:
        _write(Path(output), rendered.text)
    if as_json:
        answer = {
            "config": base,
            "files": rendered.files,
            "environment": rendered.environment,
            "output": output,
            "yaml": rendered.text if output is None else None,
            "findings": len(rendered.report.findings),
        }
        click.echo(json.dumps(answer))
    elif output is None:
        click.echo(rendered.text, nl=False)
    if rendered.report.findings:
        click.echo(as_text([rendered.report]), err=True)
        context.exit(1)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error


def _listed(base: str | None, *, as_json: bool) -> str:
    found = [each for each in overlays().values() if base is None or base in each.bases]
    if as_json:
        return json.dumps([_as_value(each) for each in found])
    return "\n".join(_as_line(each) for each in found)


def _as_value(overlay: Overlay) -> dict[str, object]:
    return {
        "name": overlay.name,
        "for": overlay.bases,
        "requires": overlay.requires,
        "excludes": overlay.excludes,
        "environment": overlay.environment,
        "summary": overlay.summary,
    }


def _as_line(overlay: Overlay) -> str:
    parts = [f"for {', '.join(overlay.bases)}"]
    parts += [f"needs {', '.join(overlay.requires)}"] if overlay.requires else []
    parts += [f"not with {', '.join(overlay.excludes)}"] if overlay.excludes else []
    parts += [f"set {', '.join(overlay.environment)}"] if overlay.environment else []
    return f"{overlay.name}: {'; '.join(parts)}\n    {overlay.summary}"
