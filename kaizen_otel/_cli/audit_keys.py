"""``kaizen-otel audit keys`` and ``audit trust``: the keys that sign, the keys that are believed.

Exit codes: 0 done, 2 a wrong argument, key or trust file, 3 a file cannot be read or written.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kaizen_otel._cli.audit_common import CLEAN, Time, json_option, readable, spool_option
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._signing import (
    SETTING,
    is_key_text,
    own_key_path,
    public_key_from,
    signer_from_file,
    signer_named,
)
from kaizen_otel._spool.secrets import read_regular
from kaizen_otel._trail.keys import change_trust, make_key_file, read_trust, rotate_key_file
from kaizen_otel._trail.rotation import record_rotation
from kaizen_otel.audit.signatures import PUBLIC_KEY_BYTES, decode_base64, encode_base64
from kaizen_otel.audit.trust import TrustedKey, described_key
from kaizen_otel.config import Config
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._signing import Ed25519Signer, Signer
    from kaizen_otel.audit.trust import Trust

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FILE_BYTES_MAX: Final = 64 * 1024

_trust_option = click.option(
    "--trust", metavar="FILE", help="The trust file; else KAIZEN_OTEL_TRUST_FILE."
)


@click.group()
def keys() -> None:
    """Make, show and rotate the key that signs the audit trail."""


@keys.command("new")
@click.argument("file")
@json_option
def new_command(*, file: str, as_json: bool) -> int:
    """Make a new key in FILE, which must not be there yet (mode 0600)."""

    def run() -> int:
        path = _whole(file)
        signer = make_key_file(path, filesystem=OsFilesystem(), clock=SystemClock())
        _print_key(signer, path, as_json=as_json)
        if not as_json:
            click.echo(f"to sign with it: {SETTING}={path}")
            _print_pinning(signer)
        return CLEAN

    return readable(run)


@keys.command("show", short_help="Show the id and the public key.")
@click.argument("file", required=False)
@spool_option
@json_option
@click.option("--public", is_flag=True, help="Print the public key only, as PEM.")
def show_command(*, file: str | None, spool: str | None, public: bool, as_json: bool) -> int:
    """Show id and public key of FILE, else of the key that agents here sign with."""

    def run() -> int:
        signer, path = _signer(file, spool)
        if public and not as_json:
            click.echo(signer.public_pem(), nl=False)
        else:
            _print_key(signer, path, as_json=as_json)
        return CLEAN

    return readable(run)


@keys.command("rotate", short_help="Give a key file a new key, signed on by the old one.")
@click.argument("file", required=False)
@spool_option
@json_option
@click.option("--timeout", default=2.0, show_default=True, help="Seconds to deliver the record.")
def rotate_command(*, file: str | None, spool: str | None, as_json: bool, timeout: float) -> int:
    """Give FILE, else the file of the key that agents here sign with, a new key.

    The old key stays beside it.  A record that the old key signs and the new one proves goes into
    the spool, so that verifiers who believe the old key believe the new one.
    """

    def run() -> int:
        path, config, filesystem = (
            _rotatable(file, spool),
            Config.from_environment(),
            OsFilesystem(),
        )
        clock = SystemClock()
        done = rotate_key_file(
            path,
            filesystem=filesystem,
            clock=clock,
            warn=lambda _: None,  # the file was looked at already
            record=partial(
                record_rotation,
                directory=spool or str(config.audit.directory),
                config=config,
                filesystem=filesystem,
                clock=clock,
                warn=_warn,
                deliver_ms=int(timeout * 1000),
            ),
        )
        if as_json:
            rotated = {"old_key_id": done.old_key_id, "old_path": done.old_path}
            click.echo(json.dumps({**_described(done.new, path), **rotated}))
            return CLEAN
        click.echo(f"{path}: key id {done.old_key_id} -> {done.new.key_id}")
        click.echo(f"the old key is kept in {done.old_path}")
        click.echo("agents that run now sign with the old key until they are started again")
        _print_pinning(done.new)
        return CLEAN

    return readable(run)


@click.group()
def trust() -> None:
    """Choose the public keys that `audit verify` believes."""


@trust.command("add", short_help="Trust a public key.")
@click.argument("key")
@click.option("--name", required=True, help="Who holds the key.")
@click.option("--not-before", type=Time(), help="It signs from this moment (ISO 8601).")
@click.option("--not-after", type=Time(), help="It signs up to this moment.")
@click.option("--replace", is_flag=True, help="Change what is said of a key that is there.")
@_trust_option
@json_option
def add_command(
    *,
    key: str,
    name: str,
    not_before: int | None,
    not_after: int | None,
    replace: bool,
    trust: str | None,
    as_json: bool,
) -> int:
    """Trust KEY: a public key in base64, a file with it (PEM or ssh-ed25519), or - for stdin."""

    def run() -> int:
        trusted = TrustedKey(
            public_key=_public_key(key),
            name=name,
            added=_moment(SystemClock().time_ns() // 10**9 * 10**9),
            not_before=None if not_before is None else _moment(not_before),
            not_after=None if not_after is None else _moment(not_after),
        )

        def change(before: Trust) -> Trust:
            if before.find(trusted.key_id) is not None and not replace:
                raise ConfigError(
                    f"key {trusted.key_id} is trusted already and was NOT changed: --replace "
                    "changes its name and times"
                )
            return before.adding(trusted)

        _change(trust, change)
        text = f"trusted: {trusted.key_id} {trusted.name}"
        click.echo(json.dumps(described_key(trusted)) if as_json else text)
        return CLEAN

    return readable(run)


@trust.command("list")
@_trust_option
@json_option
def list_command(*, trust: str | None, as_json: bool) -> int:
    """Print the trusted keys."""

    def run() -> int:
        path = _trust_path(trust)
        found = read_trust(path, filesystem=OsFilesystem(), warn=_warn)
        described = [described_key(key) for key in found.keys]
        if as_json:
            click.echo(json.dumps({"path": path, "keys": described}))
            return CLEAN
        for key in described:
            words = [key["key_id"], key["public_key"], f"added {key['added']}"]
            words += [f"from {key['not_before']}"] if "not_before" in key else []
            words += [f"until {key['not_after']}"] if "not_after" in key else []
            click.echo("  ".join([*words, key["name"]]))
        click.echo(f"{path}: {len(described)} trusted keys", err=True)
        return CLEAN

    return readable(run)


@trust.command("remove", short_help="Trust a key no longer, also for what it signed before.")
@click.argument("key_id")
@_trust_option
@json_option
def remove_command(*, key_id: str, trust: str | None, as_json: bool) -> int:
    """Trust KEY_ID no longer, also for what it signed before (else use add --not-after)."""

    def run() -> int:
        def change(before: Trust) -> Trust:
            if before.find(key_id) is None:
                raise ConfigError(
                    f"no key {key_id} is trusted, nothing was changed: `kaizen-otel audit trust "
                    "list` prints the key ids"
                )
            return before.removing(key_id)

        after = _change(trust, change)
        left = {"removed": key_id, "keys": len(after.keys)}
        text = f"no longer trusted: {key_id}; {len(after.keys)} keys are left"
        click.echo(json.dumps(left) if as_json else text)
        return CLEAN

    return readable(run)


def _signer(file: str | None, spool: str | None) -> tuple[Ed25519Signer, str | None]:
    """Return the key that is meant and its file, which a key in a variable has not."""
    config = Config.from_environment().audit
    setting, filesystem = config.signing_key, OsFilesystem()
    if file is None and setting is not None:
        signer = signer_named(setting, filesystem=filesystem, warn=_warn)
        return signer, None if is_key_text(setting) else _whole(setting)
    path = _whole(file or own_key_path(spool or str(config.directory)))
    return signer_from_file(path, filesystem=filesystem, warn=_warn), path


def _rotatable(file: str | None, spool: str | None) -> str:
    """Return the key file to rotate, seen to be one that can be."""
    path = _signer(file, spool)[1]
    if path is None:
        raise ConfigError(
            f"{SETTING} holds the key itself, which was NOT rotated: put the key into a file and "
            f"rotate that, or make a new one with `kaizen-otel audit keys new FILE`"
        )
    # The new file is ours, and nobody else may read it.
    if Path(path).stat().st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to another user, who could not read the new key; it was NOT rotated: "
            "run this as its owner"
        )
    return path


def _public_key(text: str) -> bytes:
    if decode_base64(text, PUBLIC_KEY_BYTES) is not None:
        return public_key_from(text.encode(), source="KEY")
    if text == "-":
        data = sys.stdin.buffer.read(_FILE_BYTES_MAX)
        return public_key_from(data, source="what was read from standard input")
    data, _ = read_regular(OsFilesystem(), text, bytes_max=_FILE_BYTES_MAX)
    return public_key_from(data, source=text)


def _trust_path(given: str | None) -> str:
    path = given or Config.from_environment().audit.trust_file
    if path is None:
        raise click.UsageError("which trust file? Give --trust FILE or set KAIZEN_OTEL_TRUST_FILE")
    return _whole(str(path))


def _change(given: str | None, change: Callable[[Trust], Trust]) -> Trust:
    """Change the trust file, which keeps its permissions: it is no secret."""
    path = _trust_path(given)
    mode = stat.S_IMODE(Path(path).stat().st_mode) if Path(path).exists() else None
    after = change_trust(path, change, filesystem=OsFilesystem(), clock=SystemClock(), warn=_warn)
    if mode is not None:
        Path(path).chmod(mode)
    return after


def _whole(path: str) -> str:
    """Return a path without links, so that the file itself is replaced and no link to it."""
    return str(Path(path).resolve())


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def _described(signer: Signer, path: str | None) -> dict[str, str | None]:
    return {
        "key_id": signer.key_id,
        "public_key": encode_base64(signer.public_key),
        "path": path,
    }


def _print_key(signer: Signer, path: str | None, *, as_json: bool) -> None:
    described = _described(signer, path)
    if as_json:
        click.echo(json.dumps(described))
        return
    click.echo(f"key id      {described['key_id']}")
    click.echo(f"public key  {described['public_key']}")
    click.echo(f"file        {path or f'none: the text in {SETTING}'}")


def _print_pinning(signer: Signer) -> None:
    click.echo(
        "to pin it for verifiers: kaizen-otel audit trust add "
        f"{encode_base64(signer.public_key)} --name NAME"
    )


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)
