"""``kaizen-otel view``: look at what the Collector wrote, in a browser, without any backend."""

from __future__ import annotations

import json
import os
import webbrowser
from contextlib import closing
from pathlib import Path

import click

from kaizen_otel._collector.resources import state_directory
from kaizen_otel._edges import OsFilesystem, secret_bytes
from kaizen_otel._spool.files import replace_file
from kaizen_otel.config import Config
from kaizen_otel.errors import ConfigError

_PORT = 8686


@click.command(short_help="Runs, metrics, logs and the audit trail in the browser.")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--port", default=_PORT, show_default=True, help="Port of 127.0.0.1; 0: a free one.")
@click.option("--open", "is_opened", is_flag=True, help="Open it in the browser.")
@click.option(
    "--export",
    "export_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one HTML file that needs no server, and end.",
)
@click.option("--trust", metavar="FILE", help="Whose keys to believe; else KAIZEN_OTEL_TRUST_FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def view(
    *,
    directory: Path | None,
    port: int,
    is_opened: bool,
    export_path: Path | None,
    trust: str | None,
    as_json: bool,
) -> None:
    """Show traces, conversations, metrics, logs and the verified audit trail of DIRECTORY.

    DIRECTORY is where a Collector with the `dev` config writes; else KAIZEN_OTEL_DATA_DIR, else
    where `make demo` and `kaizen-otel demo` leave it.  Answers on loopback only, until Ctrl-C.
    """
    from kaizen_otel._view.export import report
    from kaizen_otel._view.server import Viewer, listen, serve

    folder = _folder(directory)
    named = trust or Config.from_environment().audit.trust_file
    viewer = Viewer(folder, trust_file=None if named is None else str(named))
    if export_path is not None:
        with closing(viewer):
            page = report(viewer).encode()
        _write(export_path, page, as_json=as_json)
        return
    listening = listen(port)

    def ready(link: str) -> None:
        if as_json:
            click.echo(json.dumps({"url": link, "directory": str(folder)}))
        else:
            click.echo(f"{folder}\n  {link}\nCtrl-C ends it.")
        if is_opened:
            webbrowser.open(link)

    serve(viewer, listening, token=secret_bytes(24).hex(), ready=ready)


def _folder(given: Path | None) -> Path:
    folder = given or Path(
        os.environ.get("KAIZEN_OTEL_DATA_DIR") or state_directory(os.environ) / "dev"
    )
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} is no folder: run `kaizen-otel demo` first, or name the folder of a "
            "Collector with the dev config (KAIZEN_OTEL_DATA_DIR)"
        )
    if not any(folder.glob("*.jsonl")) and not any(folder.glob("audit/*.jsonl")):
        click.echo(
            f"{folder} holds no traces.jsonl, metrics.jsonl, logs.jsonl or audit/audit.jsonl yet; "
            "what comes will be shown",
            err=True,
        )
    return folder.absolute()


def _write(path: Path, page: bytes, *, as_json: bool) -> None:
    try:
        # For its owner's eyes: it shows what agents did.
        replace_file(OsFilesystem(), str(path.absolute()), page)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
    if as_json:
        click.echo(json.dumps({"path": str(path), "bytes": len(page)}))
    else:
        click.echo(f"{path}: {len(page):,} bytes")
