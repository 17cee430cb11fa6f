"""The help of the command line: whole, for every command and option, in a terminal of 80."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from kaizen_otel._cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator


def contexts(
    command: click.Command, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """The command itself and all below it."""
    name = "kaizen-otel" if parent is None else command.name
    context = click.Context(command, info_name=name, parent=parent, max_content_width=80)
    yield context
    if isinstance(command, click.Group):
        for found in command.list_commands(context):
            below = command.get_command(context, found)
            assert below is not None
            yield from contexts(below, context)


ALL = list(contexts(cli))


@pytest.mark.parametrize("context", ALL, ids=lambda context: context.command_path)
def test_the_help_is_whole(context: click.Context) -> None:
    """A list of commands whose sentences break off tells nobody which one to take."""
    lines = context.get_help().splitlines()
    assert max(map(len, lines)) <= 80
    _, _, listed = context.get_help().partition("Commands:")
    assert "..." not in listed
    for parameter in context.command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_an_option_means_the_same_wherever_it_is() -> None:
    """``--json`` is a flag everywhere, ``--trust`` a file."""
    kinds: dict[str, set[str]] = {}
    for context in ALL:
        for parameter in context.command.params:
            if isinstance(parameter, click.Option):
                kind = "flag" if parameter.is_flag else "value"
                kinds.setdefault(parameter.opts[0], set()).add(kind)
    assert len(ALL) > 30
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}
