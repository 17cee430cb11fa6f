"""``kaizen-otel collector``: obtain, run and validate a Collector; lint and render its configs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from kaizen_otel._cli.collector_lint import lint_command
from kaizen_otel._cli.collector_queue import queue_command
from kaizen_otel._cli.collector_render import render_command
from kaizen_otel._collector.foreground import run_foreground
from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import SHIPPED_CONFIGS, config_path
from kaizen_otel._collector.validate import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._collector.foreground import Running

_config = click.option(
    "--config",
    "configs",
    multiple=True,
    help="Name of a config or overlay (gateway, tls), or the path of a file; again for overlays.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(short_help="An OpenTelemetry Collector: run, lint, render, validate.")
def collector() -> None:
    """Obtain, run and validate an OpenTelemetry Collector; lint and render its configs."""


collector.add_command(lint_command)
collector.add_command(queue_command)
collector.add_command(render_command)


@collector.command("obtain", short_help="Find, download or build a Collector; print its path.")
@_config
@_json
@click.option("--no-download", is_flag=True, help="Do not download an official release.")
@click.option("--no-build", is_flag=True, help="Do not build from our sources.")
@click.option("--own", is_flag=True, help="Accept no other elasticsearch exporter than ours.")
def obtain_command(
    *, configs: tuple[str, ...], as_json: bool, no_download: bool, no_build: bool, own: bool
) -> None:
    """Find, download or build a Collector that fits the config, and print its path."""
    obtained = obtain(
        [config_path(name) for name in configs or ("dev",)],
        progress=_progress,
        own=own,
        may_download=not no_download,
        may_build=not no_build,
    )
    _print(asdict(obtained), as_json=as_json, text=lambda: str(obtained.path))


@collector.command("run", short_help="Run a Collector until Ctrl-C.")
@_config
@_json
def run_command(*, configs: tuple[str, ...], as_json: bool) -> None:
    """Run a Collector until Ctrl-C; without --config the one that writes files only."""

    def ready(running: Running) -> None:
        _print(asdict(running), as_json=as_json, text=lambda: _described(running))

    run_foreground(
        [config_path(name) for name in configs or ("dev",)], progress=_progress, ready=ready
    )


@collector.command("validate", short_help="Let a Collector check a config and its overlays.")
@_config
@_json
def validate_command(*, configs: tuple[str, ...], as_json: bool) -> None:
    """Let a Collector check a config and its overlays; without --config, all shipped configs."""
    groups = [list(configs)] if configs else [[name] for name in SHIPPED_CONFIGS]
    results: list[dict[str, str]] = []
    for names in groups:
        paths = [config_path(name) for name in names]
        obtained = obtain(paths, progress=_progress)
        validate(paths, binary=obtained.path)
        results.append({"config": "+".join(names), "collector": str(obtained.path)})
    _print(
        {"valid": results},
        as_json=as_json,
        text=lambda: "\n".join(f"{each['config']}: valid" for each in results),
    )


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _print(value: Mapping[str, Any], *, as_json: bool, text: Callable[[], str]) -> None:
    click.echo(json.dumps(value, default=str) if as_json else text())


def _described(running: Running) -> str:
    lines = [f"Collector {running.binary.version} runs as process {running.pid}"]
    lines += [f"  {name:<7} {address}" for name, address in running.endpoints.items()]
    lines += [f"  {name}={folder}" for name, folder in running.folders.items()]
    lines += [f"  log     {running.log_path}", "Ctrl-C stops it."]
    return "\n".join(lines)
