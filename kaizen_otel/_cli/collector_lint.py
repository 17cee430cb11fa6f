"""``kaizen-otel collector lint``: judge configs without a Collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.lint import RULES, lint
from kaizen_otel._collector.lint_format import (
    as_github,
    as_json,
    as_text,
    rules_as_json,
    rules_as_page,
    rules_as_text,
)
from kaizen_otel._collector.read_config import read_configs
from kaizen_otel._collector.resources import SHIPPED_CONFIGS, config_path
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kaizen_otel._collector.lint import Report

_FORMATS: dict[str, Any] = {"text": as_text, "json": as_json, "github": as_github}


@click.command("lint", short_help="Judge a config and its overlays.")
@click.argument("configs", nargs=-1, metavar="[CONFIG]...")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON; the same as --format json.")
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(_FORMATS)),
    default="text",
    help="How findings are printed; github makes annotations.",
)
@click.option("--ignore", "ignored", multiple=True, metavar="Rnn", help="Leave a rule out.")
@click.option(
    "--level",
    type=click.Choice(["warning", "error"]),
    default="warning",
    help="The least severity that makes the exit code 1.",
)
@click.option("--list", "as_list", is_flag=True, help="List the rules and stop.")
@click.option("--rules", is_flag=True, help="Print the rules with why and fix as Markdown.")
@click.pass_context
def lint_command(
    context: click.Context,
    /,
    *,
    configs: tuple[str, ...],
    as_json_: bool,
    form: str,
    ignored: tuple[str, ...],
    level: str,
    as_list: bool,
    rules: bool,
) -> None:
    """Judge a config and its overlays, merged as the Collector merges them.

    CONFIG is dev, gateway, agent, audit, an overlay's name, or the path of a file.  Without one,
    all shipped configs are judged, each by itself.  Exit codes: 0 clean, 1 findings, 2 no usable
    config.
    """
    as_json_ = as_json_ or form == "json"
    if as_list or rules:
        click.echo(_rules(as_json_=as_json_, page=rules).rstrip("\n"))
        return
    _check_ids(ignored)
    facts = load_facts()
    groups = [configs] if configs else [(name,) for name in SHIPPED_CONFIGS]
    reports = [
        lint(read_configs([config_path(name) for name in group]), facts, ignored=ignored)
        for group in groups
    ]
    text = _FORMATS["json" if as_json_ else form](reports)
    if text:
        click.echo(text)
    if _fails(reports, level):
        context.exit(1)


def _rules(*, as_json_: bool, page: bool) -> str:
    if as_json_:
        return rules_as_json(RULES)
    return rules_as_page(RULES) if page else rules_as_text(RULES)


def _check_ids(ids: Sequence[str]) -> None:
    unknown = set(ids) - {rule.id for rule in RULES}
    if unknown:
        raise ConfigError(f"no rule {', '.join(sorted(unknown))}: see collector lint --list")


def _fails(reports: Sequence[Report], level: str) -> bool:
    return any(
        report.count("error") or (level == "warning" and report.count("warning"))
        for report in reports
    )
