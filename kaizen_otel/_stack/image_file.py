"""An image as one file, for ``docker load`` and ``ctr images import``: no engine, no registry."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
import tempfile
from typing import TYPE_CHECKING

from kaizen_otel._stack.images import USER, write_archive

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._stack.images import ImageSpec

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def write_image(spec: ImageSpec, path: Path, *, name: str) -> None:
    """Write an image of that name (with its tag) as the archive that ``docker save`` makes.

    The format is that of Docker's image specification 1.2: a list of images, each with a
    configuration and its layers, which its runtime knows by the SHA-256 of their archives.
    """
    with tempfile.TemporaryFile() as layer, tarfile.open(path, "w") as archive:
        write_archive(spec, layer)
        layer.seek(0)
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        configuration = {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {
                "User": f"{USER}:{USER}",
                "Entrypoint": list(spec.entrypoint),
                "Env": [f"{key}={value}" for key, value in sorted(spec.environment.items())],
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
        for file, content in (("manifest.json", manifest), ("config.json", configuration)):
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(file)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo("layer.tar")
        entry.size = layer.seek(0, io.SEEK_END)
        layer.seek(0)
        archive.addfile(entry, layer)
