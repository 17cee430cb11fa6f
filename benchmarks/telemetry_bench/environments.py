"""The peers' own virtual environments, pinned, in the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.resources import cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable

PINS: Final = Path(__file__).with_name("peers")
OURS: Final = "ours"
#: What a peer is called, what is imported of it, and the packages whose versions are told.
PEERS: Final = {
    "stock": ("opentelemetry.exporter.otlp.proto.grpc", "opentelemetry-sdk", "grpcio", "protobuf"),
    "fastotel": ("fastotel", "fastotel", "opentelemetry-sdk"),
    "kaizen": ("kaizen", "kailash-kaizen", "opentelemetry-sdk"),
    "logfire": ("logfire", "logfire", "opentelemetry-sdk"),
    "langfuse": ("langfuse", "langfuse", "opentelemetry-sdk"),
    # No peer, but pinned and kept apart in the same way.
    "profiler": ("py_spy", "py-spy"),
}
_INSTALL_TIMEOUT_S: Final = 900
_VERSIONS: Final = (
    "import importlib.metadata as m, json, sys;"
    "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An interpreter that has a contender, or the reason why there is none."""

    name: str
    python: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    missing: str = ""


def own() -> Environment:
    """This interpreter, with this checkout."""
    names = ("kaizen-otel", "opentelemetry-api", "opentelemetry-sdk", "kailash-kaizen")
    return Environment(name=OURS, python=sys.executable, versions=_versions(sys.executable, names))


def obtain(name: str, *, install: bool, say: Callable[[str], None]) -> Environment:
    """The environment of one peer, made if it is not there yet.

    Without ``install``, one that is not there is this interpreter, if it has the peer.
    """
    module, *packages = PEERS[name]
    pins = PINS / f"{name}.txt"
    if not pins.is_file():
        return Environment(name=name, missing="no pins for it")
    text = pins.read_text(encoding="utf-8")
    digest = hashlib.sha256(f"{sys.version}\n{text}".encode()).hexdigest()[:12]
    folder = cache_directory(os.environ) / "bench" / f"{name}-{digest}"
    python = str(folder / "bin" / "python")
    if not (folder / "complete").is_file():
        if not install:
            return _here(name, module, packages)
        say(f"installing {name} into its own environment")
        if reason := _install(folder, pins):
            return Environment(name=name, missing=reason)
        (folder / "complete").touch()
    return Environment(name=name, python=python, versions=_versions(python, packages))


def _here(name: str, module: str, packages: list[str]) -> Environment:
    root = module.partition(".")[0]
    if importlib.util.find_spec(root) is None or importlib.util.find_spec(module) is None:
        return Environment(name=name, missing="not installed, and not asked to install it")
    return Environment(
        name=name, python=sys.executable, versions=_versions(sys.executable, packages)
    )


def _install(folder: Path, pins: Path) -> str:
    try:
        venv.create(folder, with_pip=True, clear=True)
        done = subprocess.run(  # noqa: S603 - our own interpreter and our own pins
            [
                str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet",
                "--disable-pip-version-check", "--requirement", str(pins),
            ],
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return f"it did not install: {error!r}"
    lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["pip failed"]
    return "" if done.returncode == 0 else f"it did not install: {lines[0].strip()}"


def _versions(python: str, packages: list[str] | tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    done = subprocess.run(  # noqa: S603 - as above
        [python, "-c", _VERSIONS, *packages], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return ()
    found: dict[str, str] = json.loads(done.stdout)
    return tuple(found.items())
