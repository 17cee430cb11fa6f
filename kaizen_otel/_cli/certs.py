"""``kaizen-otel certs``: make, renew and check the certificates of TLS between our parts.

Exit codes: 0 done, and nothing found by ``check``; 1 findings; 2 a wrong argument or file.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaizen_otel._collector.certs import (
    AUTHORITY,
    AUTHORITY_DAYS,
    DAYS,
    LOCAL_HOSTS,
    Authority,
    describe,
    moment_of,
    names_in,
    refuse_unusable,
)
from kaizen_otel._collector.certs_check import check_certificate
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kaizen_otel._collector.certs import Issued
    from kaizen_otel._collector.certs_check import CertificateReport

_directory = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_days = click.option("--days", default=DAYS, show_default=True, help="How long it lasts.")
_hosts = click.option(
    "--host", "hosts", multiple=True, help="Name or address of the server; give it again for more."
)
_within = click.option(
    "--within", default=30, show_default=True, metavar="DAYS", help="What ends in that time."
)


@click.group(short_help="Certificates: an authority, servers, clients.")
def certs() -> None:
    """Make, renew and check certificates: an authority, servers, clients."""


@certs.command("new", short_help="Make an authority, a server's and clients' certificates.")
@_directory
@_hosts
@click.option("--client", "clients", multiple=True, help="Name of a client; again for more.")
@_days
@click.option("--ca-days", default=AUTHORITY_DAYS, show_default=True, help="And the authority.")
@_json
def new_command(
    *,
    directory: Path,
    hosts: tuple[str, ...],
    clients: tuple[str, ...],
    days: int,
    ca_days: int,
    as_json: bool,
) -> int:
    """Make an authority in DIRECTORY, with a server certificate and one for each client.

    Without --host the server is this machine only: localhost, 127.0.0.1 and ::1.
    """

    def run() -> list[Issued]:
        refuse_unusable(("server", *clients), hosts, (days, ca_days))
        authority = Authority.make(
            directory.absolute(), days=ca_days, filesystem=OsFilesystem(), clock=SystemClock()
        )
        made = [describe(authority.directory, AUTHORITY)]
        made.append(authority.issue("server", "server", hosts=hosts or LOCAL_HOSTS, days=days))
        made.extend(authority.issue(name, "client", days=days) for name in clients)
        return made

    _print_issued(_on_disk(run), as_json=as_json)
    return 0


@certs.command("add", short_help="Make one more certificate.")
@_directory
@click.argument("name")
@_hosts
@_days
@_json
def add_command(
    *, directory: Path, name: str, hosts: tuple[str, ...], days: int, as_json: bool
) -> int:
    """Make one more certificate: a server's with --host, a client's without."""

    def run() -> list[Issued]:
        authority = _load(directory)
        if hosts:
            return [authority.issue(name, "server", hosts=hosts, days=days)]
        return [authority.issue(name, "client", days=days)]

    _print_issued(_on_disk(run), as_json=as_json)
    return 0


@certs.command("renew", short_help="Renew what ends soon, or what is named.")
@_directory
@click.argument("names", nargs=-1)
@_within
@_days
@click.option("--authority", "with_authority", is_flag=True, help="The authority, with its key.")
@_json
def renew_command(
    *,
    directory: Path,
    names: tuple[str, ...],
    within: int,
    days: int,
    with_authority: bool,
    as_json: bool,
) -> int:
    """Renew NAMES, or what ends soon; whoever trusts the authority notices nothing.

    A new certificate has a new key, and the same purpose and hosts.
    """

    def run() -> list[Issued]:
        authority = _load(directory)
        made = [authority.renew_itself()] if with_authority else []
        limit = moment_of(SystemClock()) + timedelta(days=within)
        chosen = names or tuple(
            name
            for name in names_in(authority.directory)
            if name != AUTHORITY and describe(authority.directory, name).not_after <= limit
        )
        made.extend(authority.renew(name, days=days) for name in chosen)
        return made

    renewed = _on_disk(run)
    _print_issued(renewed, as_json=as_json)
    if not renewed and not as_json:
        click.echo(f"nothing ends within {within} days: nothing was renewed")
    return 0


@certs.command("check", short_help="Check certificates: expiry, key, hosts, who signed them.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--ca",
    "authority",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Who should have signed them; else the ca.crt beside each.",
)
@_within
@_json
def check_command(
    *, paths: tuple[Path, ...], authority: Path | None, within: int, as_json: bool
) -> int:
    """Check certificate files, or all in a folder: expiry, key, hosts, who signed them."""
    now = moment_of(SystemClock())
    soon = timedelta(days=within)
    reports = [
        check_certificate(path, authority=authority or _beside(path), within=soon, now=now)
        for path in _files(paths)
    ]
    findings = [finding for report in reports for finding in report.findings]
    if as_json:
        click.echo(json.dumps({"certificates": [asdict(r) for r in reports]}, default=str))
    else:
        for report in reports:
            click.echo(_described(report))
            for finding in report.findings:
                click.echo(f"  {finding.severity}: {finding.path}: {finding.text}")
        click.echo(f"{len(reports)} certificates, {len(findings)} findings", err=True)
    return 1 if findings else 0


def _load(directory: Path) -> Authority:
    return Authority.load(directory.absolute(), filesystem=OsFilesystem(), clock=SystemClock())


def _beside(path: Path) -> Path | None:
    found = path.with_name(f"{AUTHORITY}.crt")
    return found if found.is_file() else None


def _files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.crt")) if path.is_dir() else [path]
        if not found:
            raise ConfigError(f"{path} has no *.crt: name the certificate files themselves")
        files.extend(found)
    return files


def _on_disk(run: Callable[[], list[Issued]]) -> list[Issued]:
    try:
        return run()
    except OSError as error:
        raise ConfigError(
            f"{error.filename or 'a file'} cannot be written: {error.strerror or error}; "
            "name another folder or mend its permissions"
        ) from None


def _print_issued(made: list[Issued], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"made": [_as_object(issued) for issued in made]}))
        return
    for issued in made:
        hosts = f" for {', '.join(issued.hosts)}" if issued.purpose == "server" else ""
        click.echo(f"{issued.purpose:<9} {issued.name}{hosts}, until {issued.not_after:%Y-%m-%d}")
        click.echo(f"          {issued.certificate}")
        click.echo(f"          {issued.key}")
    if any(issued.purpose == "authority" for issued in made):
        click.echo(
            "Keep ca.key where no Collector and no agent runs: who has it can be any of them."
        )


def _as_object(issued: Issued) -> dict[str, Any]:
    return {key: str(value) if key != "hosts" else value for key, value in asdict(issued).items()}


def _described(report: CertificateReport) -> str:
    hosts = f" for {', '.join(report.hosts)}" if report.hosts else ""
    return f"{report.path}: {report.purpose}{hosts}, until {report.not_after:%Y-%m-%d %H:%M} UTC"
