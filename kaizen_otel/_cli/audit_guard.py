"""``kaizen-otel audit guard``: the readiness of whatever stores the trail, by its disk.

Exit codes: 2 a wrong argument, 4 the address cannot be listened on.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click

from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._trail.guard import Guard
from kaizen_otel._trail.guard_server import PATH, GuardServer, address_of

if TYPE_CHECKING:
    from types import FrameType


@click.command(short_help="Answer probes: can the trail's disk take records?")
@click.option(
    "--directory",
    required=True,
    metavar="DIR",
    envvar="KAIZEN_OTEL_AUDIT_DIR",
    help="The folder of audit.jsonl; else KAIZEN_OTEL_AUDIT_DIR.",
)
@click.option(
    "--min-free",
    type=click.IntRange(min=0),
    default=1 << 30,
    show_default=True,
    metavar="BYTES",
    help="Not ready with less free space.",
)
@click.option(
    "--min-inodes",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    metavar="COUNT",
    help="Not ready with fewer free inodes.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=60),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Not ready if a write to the disk takes longer.",
)
@click.option(
    "--listen",
    default="127.0.0.1:13134",
    show_default=True,
    metavar="HOST:PORT",
    help="Where probes are answered; port 0 takes a free one.",
)
def guard(*, directory: str, min_free: int, min_inodes: int, timeout: float, listen: str) -> int:
    """Answer GET /ready: 200 while the trail's disk can take records, else 503 with the reason."""
    looking = Guard(
        directory,
        bytes_free_min=min_free,
        files_free_min=min_inodes,
        timeout_s=timeout,
        filesystem=OsFilesystem(),
        clock=SystemClock(),
    )
    host, port = address_of(listen)
    with GuardServer(looking, host, port, say=click.echo) as server:
        # The first process of a container has no default for this signal: it would be ignored.
        signal.signal(signal.SIGTERM, _end)
        click.echo(f"answering on http://{host}:{server.server_port}{PATH}")
        server.serve_forever()
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(0)
