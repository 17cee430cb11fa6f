"""What is said when a file cannot be read or written, and the exit code for it."""

from __future__ import annotations

from typing import Final

import click

UNREADABLE: Final = 3


def tell(error: OSError) -> int:
    """Name the file and the reason on standard error; returns the exit code."""
    if error.filename and error.strerror:
        text = f"{error.filename} cannot be read or written: {error.strerror}"
    else:
        text = f"cannot be read or written: {error}"
    click.echo(f"error: {text}", err=True)
    return UNREADABLE
