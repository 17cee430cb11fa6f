"""Where the Collector's files are, and where its tools keep what they make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._environment import home_directory
from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = Path(__file__).resolve().parent.parent

SHIPPED_CONFIGS = ("dev", "gateway", "agent", "audit")


def collector_directory() -> Path:
    """The folder with configs, manifests and Go sources.

    In an installed wheel it is package data (``kaizen_otel/_data/collector``), in a checkout the
    repository's ``collector``.  Raises SetupError when neither is there.
    """
    for candidate in (_PACKAGE / "_data" / "collector", _PACKAGE.parent / "collector"):
        if (candidate / "config" / "dev.yaml").is_file():
            return candidate
    raise SetupError(
        f"the Collector's configs are missing: neither {_PACKAGE / '_data' / 'collector'} nor "
        f"{_PACKAGE.parent / 'collector'} holds config/dev.yaml; install kaizen-otel again"
    )


def config_path(name: str) -> Path:
    """The file of a shipped config or overlay (``gateway``, ``tls``), or of a path by the user.

    Raises ConfigError when there is no such file.
    """
    folder = collector_directory() / "config"
    if name in SHIPPED_CONFIGS:
        path = folder / f"{name}.yaml"
    elif name in shipped_overlays():
        path = folder / "overlays" / f"{name}.yaml"
    else:
        path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"no Collector config {name!r}: give the path of a file or one of "
            f"{', '.join(SHIPPED_CONFIGS)}, or of the overlays {', '.join(shipped_overlays())}"
        )
    return path


def shipped_overlays() -> tuple[str, ...]:
    """The names of the shipped overlays, sorted."""
    folder = collector_directory() / "config" / "overlays"
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


_SECRETS: Final = frozenset({"KAIZEN_OTEL_SIGNING_KEY", "KAIZEN_OTEL_SUBJECT_MASTER_KEY"})


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where built and downloaded things are kept (XDG Base Directory Specification)."""
    return _xdg(environment, "XDG_CACHE_HOME", Path(".cache")) / "kaizen-otel"


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where a Collector started by our tools keeps its files (XDG Base Directory Specification)."""
    return _xdg(environment, "XDG_STATE_HOME", Path(".local") / "state") / "kaizen-otel"


def run_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The folders of a Collector that a user starts by hand, where the environment names none.

    The configs' own defaults suit a service (``/var/lib/kaizen-otel``); a user may not write
    there.
    """
    state = state_directory(environment)
    defaults = {
        "KAIZEN_OTEL_DATA_DIR": state / "dev",
        "KAIZEN_OTEL_QUEUE_DIR": state / "collector" / "queue",
        "KAIZEN_OTEL_AUDIT_DIR": state / "collector" / "audit",
        "KAIZEN_OTEL_DEAD_LETTER_DIR": state / "collector" / "dead-letter",
    }
    return {name: environment.get(name) or str(path) for name, path in defaults.items()}


def inherited_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a program that we start sees of our environment: not the agent's own settings.

    A Collector would send its own telemetry where ``OTEL_*`` points, and keys are nobody's
    business: a child's environment can be read by others of the same user.
    """
    return {
        name: text
        for name, text in environment.items()
        if not name.startswith("OTEL_") and name not in _SECRETS
    }


def _xdg(environment: Mapping[str, str], name: str, below_home: Path) -> Path:
    value = environment.get(name, "")
    # The specification: a relative path is to be ignored.
    if value and Path(value).is_absolute():
        return Path(value)
    home = environment.get("HOME") or environment.get("USERPROFILE")
    return home_directory(home) / below_home


def executable_name(stem: str) -> str:
    """The file name of a program on this system."""
    return f"{stem}.exe" if sys.platform == "win32" else stem
