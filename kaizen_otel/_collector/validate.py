"""Let a Collector check a config without running it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

VALIDATE_TIMEOUT_S = 60.0


def validate(
    configs: Sequence[Path], *, binary: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Have ``binary`` build every component of one config and its overlays, without starting.

    Raises ConfigError with the Collector's own words when it refuses, SetupError when the binary
    cannot be run.
    """
    command = [str(binary), "validate"]
    for path in configs:
        command += ["--config", str(path)]
    try:
        answer = subprocess.run(
            command,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=dict(os.environ if environment is None else environment),
            timeout=VALIDATE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{binary} cannot be run: {error}") from error
    if answer.returncode != 0:
        names = ", ".join(str(path) for path in configs)
        raise ConfigError(f"the Collector refuses {names}: {_reason(answer.stderr)}")


def _reason(output: bytes) -> str:
    text = output.decode("utf-8", "replace").strip()
    # The Collector prints its error, and some versions print it again with the usage.
    text = text.partition("\nUsage:")[0].strip()
    return text.removeprefix("Error:").strip() or "it gives no reason"
