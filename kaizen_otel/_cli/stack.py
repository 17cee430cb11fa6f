"""``kaizen-otel stack``: the local backends and the Collector before them."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from kaizen_otel._cli.stack_image import image
from kaizen_otel._stack import StackPorts
from kaizen_otel._stack.choose import choose, find_running
from kaizen_otel._stack.compose_layout import COMPONENTS
from kaizen_otel._stack.secrets import make_secrets

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from kaizen_otel._stack import ComponentStatus
    from kaizen_otel._stack.choose import Engine, Stack

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_engine = click.option(
    "--engine",
    type=click.Choice(["auto", "compose", "native"]),
    default="auto",
    show_default=True,
    help="Docker Compose, processes of this machine, or the first of them that can be had.",
)
_native = click.option("--native", is_flag=True, help="The same as --engine native.")
_component = click.option(
    "--component",
    "components",
    multiple=True,
    type=click.Choice(COMPONENTS),
    help="Only this one; may be given again.",
)


@click.group(short_help="The local stack: Collector, Jaeger, Prometheus, a store.")
def stack() -> None:
    """Start, inspect and end the local stack: Collector, Jaeger, Prometheus, Elasticsearch.

    With Docker Compose also Grafana and Kibana; without it OpenSearch stands for Elasticsearch.
    """


stack.add_command(image)


@stack.command("up")
@_engine
@_native
@_json
@_component
@click.option(
    "--port",
    "port_settings",
    multiple=True,
    metavar="NAME=NUMBER",
    help=f"Another port; names: {', '.join(asdict(StackPorts()))}.",
)
@click.option("--free-ports", is_flag=True, help="Use ports that are free now, whichever.")
@click.option("--deadline", "deadline_s", type=float, help="Seconds to start in.")
@click.option("--any-size", is_flag=True, help="Start even with little memory or disk.")
@click.option(
    "--secrets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="TLS and passwords before everything, from a folder of `stack secrets` (Compose only).",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="One more Compose file, merged last; may be given again.",
)
def up_command(
    *,
    engine: Engine,
    native: bool,
    as_json: bool,
    components: tuple[str, ...],
    port_settings: tuple[str, ...],
    free_ports: bool,
    deadline_s: float | None,
    any_size: bool,
    secrets: Path | None,
    files: tuple[Path, ...],
) -> None:
    """Obtain what is missing, start it, and print where it answers."""
    ports = (StackPorts.free() if free_ports else StackPorts()).changed(port_settings)
    chosen = choose("native" if native else engine, ports=ports, secrets=secrets, files=files)
    with _terminated_as_interrupt():
        chosen.up(components or chosen.components, deadline_s=deadline_s, any_size=any_size)
    _print_status(chosen, as_json=as_json)


@stack.command("status", short_help="Print what each part does now.")
@_engine
@_native
@_json
def status_command(*, engine: Engine, native: bool, as_json: bool) -> None:
    """Print what each part does now; exit code 1 if a started part does not answer."""
    (running, *_) = find_running("native" if native else engine)
    found = _print_status(running, as_json=as_json)
    if any(each.state in {"ended", "not answering"} for each in found):
        raise SystemExit(1)


@stack.command("down", short_help="End all parts; what they stored is kept.")
@_engine
@_native
@_json
@click.option("--volumes", "with_volumes", is_flag=True, help="Remove what it stored as well.")
def down_command(*, engine: Engine, native: bool, as_json: bool, with_volumes: bool) -> None:
    """End all parts; what they stored is kept (a native Jaeger has its traces in memory only).

    The audit trail is kept in any case.
    """
    ended: list[str] = []
    for each in find_running("native" if native else engine):
        ended += each.down(with_volumes=with_volumes)
    click.echo(json.dumps({"ended": ended}) if as_json else f"ended: {', '.join(ended) or 'none'}")


@stack.command("secrets", short_help="Make certificates, tokens and the pages' password.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--host", "hosts", multiple=True, help="A name that this machine has for agents.")
@click.option("--passwords", is_flag=True, help="Also for the overlays basic and audit-basic.")
def secrets_command(*, folder: Path, hosts: tuple[str, ...], passwords: bool) -> None:
    """Make certificates, tokens and the pages' password in a new FOLDER, for `up --secrets`."""
    click.echo(make_secrets(folder, hosts, passwords=passwords))


@stack.command("logs")
@_engine
@_native
@_json
@_component
@click.option("--lines", default=40, help="How many of the last lines.")
def logs_command(
    *, engine: Engine, native: bool, as_json: bool, components: tuple[str, ...], lines: int
) -> None:
    """Print the last lines that the parts printed."""
    (running, *_) = find_running("native" if native else engine)
    found = {name: running.log(name, lines) for name in components or running.components}
    if as_json:
        click.echo(json.dumps({name: text.splitlines() for name, text in found.items()}))
        return
    for name, text in found.items():
        click.echo(f"== {name}\n{text}" if text else f"== {name}: nothing")


def _print_status(shown: Stack, *, as_json: bool) -> list[ComponentStatus]:
    found = shown.status()
    if as_json:
        content = {
            "components": [asdict(each) for each in found],
            "urls": shown.urls,
            "audit_directory": str(shown.audit_directory),
        }
        click.echo(json.dumps(content))
        return found
    click.echo(f"stack: {shown.title}", err=True)
    for each in found:
        note = f"  ({each.note})" if each.note else ""
        click.echo(f"{each.component:<14} {each.state:<14} {each.url}{note}".rstrip())
    if shown.urls:
        click.echo(f"audit trail    {shown.audit_directory}")
        click.echo("`kaizen-otel stack down` ends it.")
    return found


@contextmanager
def _terminated_as_interrupt() -> Generator[None]:
    """Have SIGTERM end what was started, as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
