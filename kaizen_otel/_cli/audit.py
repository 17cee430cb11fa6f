"""``kaizen-otel audit``: the commands over trails and spools, each loaded when it is called.

Exit codes are API: 0 clean, 1 tampering, 2 incomplete (something is missing, waiting or unreadable
in between) or a wrong argument, 3 the spool or the trail cannot be read.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

import click

# The command's name: the module beside this one and the name in it.  A module that is not there
# is a command that is not there.
_COMMANDS: Final = {
    "erase": ("audit_subjects", "erase"),
    "export": ("audit_export", "export"),
    "flush": ("audit_spool", "flush"),
    "guard": ("audit_guard", "guard"),
    "heads": ("audit_heads", "heads"),
    "keys": ("audit_keys", "keys"),
    "prune": ("audit_prune", "prune"),
    "pseudonym": ("audit_query", "pseudonym"),
    "query": ("audit_query", "query"),
    "reconcile": ("audit_spool", "reconcile"),
    "report": ("audit_report", "report"),
    "reveal": ("audit_subjects", "reveal"),
    "status": ("audit_spool", "status"),
    "tail": ("audit_query", "tail"),
    "trust": ("audit_keys", "trust"),
    "verify": ("audit_verify", "verify"),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if self.get_command(ctx, name) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        module, name = _COMMANDS.get(cmd_name, ("", ""))
        path = f"kaizen_otel._cli.{module}"
        if not module or importlib.util.find_spec(path) is None:
            return None
        command: Any = getattr(importlib.import_module(path), name, None)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_LazyGroup, short_help="The audit trail: verify, ask, export, erase; the spool.")
def audit() -> None:
    """Ask, follow, verify and export the audit trail, compare and empty the spool."""
