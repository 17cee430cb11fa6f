"""The command ``kaizen-otel``: dispatch, and errors mapped to exit codes; no logic.

Exit codes: 0 done; 1 our own mistake or findings; 2 a wrong setting or argument; 3 cannot be
enabled here; 4 a program could not be obtained or started; 5 audit records were not stored; 130
interrupted.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any, Final

import click

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


class _LazyGroup(click.Group):
    """Loads a command's module only when it is called."""

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
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except KaizenOtelError as error:
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": type(error).__name__, "message": str(error)}))
        else:
            click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
