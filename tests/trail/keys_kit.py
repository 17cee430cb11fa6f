"""What the tests of the key commands share: a folder, running a command, reading its answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kaizen_otel._cli.audit import audit
from kaizen_otel.audit.signatures import (
    encode_base64,
)
from kaizen_otel.errors import ConfigError

VARIABLES = ("KAIZEN_OTEL_SIGNING_KEY", "KAIZEN_OTEL_TRUST_FILE", "KAIZEN_OTEL_SPOOL_DIR")


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and no settings but the spool's and a receiver that is not there."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAIZEN_OTEL_SPOOL_DIR", str(folder / "spool"))
    monkeypatch.setenv("KAIZEN_OTEL_AUDIT_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(folder)
    return folder


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(audit, list(arguments), standalone_mode=False, input=stdin)


def done(*arguments: str, stdin: str | bytes | None = None) -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exception is None, result.exception
    assert result.return_value == 0, result.output
    return result.stdout


def refused(*arguments: str, stdin: str | bytes | None = None) -> str:
    """The message of an error that is exit code 2."""
    error = run(*arguments, stdin=stdin).exception
    assert isinstance(error, ConfigError)
    assert error.exit_code == 2
    return str(error)


def answer(*arguments: str) -> dict[str, Any]:
    value = json.loads(done(*arguments, "--json"))
    assert isinstance(value, dict)
    return value


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_no_private_key(text: str, *files: Path) -> None:
    """No piece of the private keys in these files stands in the text."""
    for file in files:
        key = load_pem_private_key(file.read_bytes(), None)
        raw = key.private_bytes_raw()  # type: ignore[union-attr]
        seed = file.read_text().splitlines()[1][20:]
        for form in (seed, raw.hex(), encode_base64(raw)):
            assert not [at for at in range(len(form) - 8) if form[at : at + 8] in text], text
