"""The environment of checkov and of Helm's SDK, in the cache; made when it is not there yet.

``python .ci/chart_tools.py`` prints its interpreter.  They stand apart from the tests' environment
because checkov pins a hundred packages of its own, and the SDK is the size of all our tools
(docs/adr/0017-chart-tools.md).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

PINS = Path(__file__).with_suffix(".txt")


def folder() -> Path:
    """Where the environment for these pins and this interpreter is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(f"{sys.version}\n{PINS.read_text()}".encode()).hexdigest()[:12]
    return Path(base) / "kaizen-otel" / "chart-tools" / digest


def obtain() -> Path:
    """The environment's interpreter."""
    home = folder()
    python = home / "bin" / "python"
    home.parent.mkdir(parents=True, exist_ok=True)
    # Two runs at once would install into each other's half-made folder.
    with (home.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").is_file():
            venv.create(home, with_pip=True, clear=True)
            command = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
            subprocess.run([*command, "--quiet", "--requirement", str(PINS)], check=True)
            (home / "complete").touch()
    return python


def main() -> int:
    """Make the environment and print its interpreter."""
    try:
        print(obtain())
    except (OSError, subprocess.SubprocessError) as error:
        print(f"checkov and Helm's SDK did not install: {error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
