"""The command ``kaizen-otel``: dispatch, and errors mapped to exit codes; no logic.

Exit codes: 0 done; 1 our own mistake or findings; 2 a wrong setting or argument; 3 cannot be
enabled here, or cannot be read or written; 4 a program could not be obtained or started; 5 audit
records were not stored; 130 interrupted; 141 whoever reads our output has left.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, Final

import click

from kaizen_otel._cli.disk import UNREADABLE, tell
from kaizen_otel._version import __version__
from kaizen_otel.errors import KaizenOtelError

_COMMANDS: Final = {
    "audit": "audit",
    "certs": "certs",
    "collector": "collector",
    "demo": "demo",
    "doctor": "doctor",
    "stack": "stack",
    "view": "view",
}
_INTERRUPTED: Final = 130
_READER_LEFT: Final = 141


class _ReaderLeftError(Exception):
    """Nobody reads what we print any more; ``click`` would end a ``BrokenPipeError`` with 1."""


class _LazyGroup(click.Group):
    """Loads a command's module only when it is called."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeftError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: Any = getattr(importlib.import_module(f"kaizen_otel._cli.{module}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kaizen-otel")
def cli() -> None:
    """Observability for AI agents over OTLP: demo, viewer, doctor, Collector, backends, audit."""


def main() -> None:
    """Run the command line; the console script's entry point."""
    code = _run()
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
    except OSError as error:
        code = code if code == UNREADABLE else _failed(error)
        # Else the interpreter tries once more at its end, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)


def _run() -> int:
    try:
        code = cli.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return _INTERRUPTED
    except click.ClickException as error:
        error.show()
        return 2
    except KaizenOtelError as error:
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": type(error).__name__, "message": str(error)}))
        else:
            click.echo(f"error: {error}", err=True)
        return error.exit_code
    except _ReaderLeftError:
        return _READER_LEFT
    except OSError as error:
        return _failed(error)
    return code if isinstance(code, int) else 0


def _failed(error: OSError) -> int:
    """Return the exit code, after a word why if nobody had one yet."""
    if isinstance(error, BrokenPipeError):
        return _READER_LEFT
    return tell(error)
