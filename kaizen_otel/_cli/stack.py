"""``kaizen-otel stack``: the local backends and the Collector before them."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

import click

from kaizen_otel._stack import COMPONENTS, NativeStack, StackPorts
from kaizen_otel._stack.native import START_DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from kaizen_otel._stack import ComponentStatus

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_native = click.option("--native", is_flag=True, help="Use processes of this machine.")
_component = click.option(
    "--component",
    "components",
    multiple=True,
    type=click.Choice(COMPONENTS),
    help="Only this one; may be given again.",
)


@click.group()
def stack() -> None:
    """Start, inspect and end local backends: Jaeger, Prometheus, OpenSearch, the Collector."""


@stack.command("up")
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
@click.option("--deadline", "deadline_s", default=START_DEADLINE_S, help="Seconds to start in.")
def up_command(
    *,
    native: bool,
    as_json: bool,
    components: tuple[str, ...],
    port_settings: tuple[str, ...],
    free_ports: bool,
    deadline_s: float,
) -> None:
    """Obtain what is missing, start it, and print where it answers."""
    _say_native(native=native)
    ports = (StackPorts.free() if free_ports else StackPorts()).changed(port_settings)
    native_stack = NativeStack(ports=ports)
    with _terminated_as_interrupt():
        native_stack.up(components or COMPONENTS, deadline_s=deadline_s)
    _print_status(native_stack, as_json=as_json)


@stack.command("status")
@_native
@_json
def status_command(*, native: bool, as_json: bool) -> None:
    """Print what each part does now; exit code 1 if a started part does not answer."""
    _say_native(native=native)
    found = _print_status(NativeStack(), as_json=as_json)
    if any(each.state in {"ended", "not answering"} for each in found):
        raise SystemExit(1)


@stack.command("down")
@_native
@_json
def down_command(*, native: bool, as_json: bool) -> None:
    """End all parts; what they stored is kept (Jaeger keeps its traces in memory only)."""
    _say_native(native=native)
    ended = NativeStack().down()
    click.echo(json.dumps({"ended": ended}) if as_json else f"ended: {', '.join(ended) or 'none'}")


@stack.command("logs")
@_native
@_json
@_component
@click.option("--lines", default=40, help="How many of the last lines.")
def logs_command(*, native: bool, as_json: bool, components: tuple[str, ...], lines: int) -> None:
    """Print the last lines that the parts printed."""
    _say_native(native=native)
    native_stack = NativeStack()
    found = {name: native_stack.log(name, lines) for name in components or COMPONENTS}
    if as_json:
        click.echo(json.dumps({name: text.splitlines() for name, text in found.items()}))
        return
    for name, text in found.items():
        click.echo(f"== {name}\n{text}" if text else f"== {name}: nothing")


def _say_native(*, native: bool) -> None:
    if not native:
        click.echo("stack: using native processes of this machine (as with --native)", err=True)


def _print_status(native_stack: NativeStack, *, as_json: bool) -> list[ComponentStatus]:
    found = native_stack.status()
    if as_json:
        content = {
            "components": [asdict(each) for each in found],
            "urls": native_stack.urls,
            "audit_directory": str(native_stack.audit_directory),
        }
        click.echo(json.dumps(content))
        return found
    for each in found:
        note = f"  ({each.note})" if each.note else ""
        click.echo(f"{each.component:<14} {each.state:<14} {each.url}{note}".rstrip())
    if native_stack.urls:
        click.echo(f"audit trail    {native_stack.audit_directory}")
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
