"""An image as a file: what `docker load` and `ctr images import` read."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from kaizen_otel._stack.image_file import write_image
from kaizen_otel._stack.images import ImageSpec


def spec(content: bytes = b"program") -> ImageSpec:
    return ImageSpec(
        name="some",
        files={"bin/some": content},
        folders=("data",),
        entrypoint=("/bin/some", "--quiet"),
        environment={"PATH": "/bin"},
    )


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {entry.name: archive.extractfile(entry) for entry in archive}
        return {name: file.read() for name, file in found.items() if file is not None}


def test_the_manifest_leads_to_the_configuration_and_to_a_layer_of_its_digest(
    tmp_path: Path,
) -> None:
    write_image(spec(), tmp_path / "image.tar", name="registry.example.com/some:1.0")
    found = members(tmp_path / "image.tar")
    (manifest,) = json.loads(found["manifest.json"])
    assert manifest["RepoTags"] == ["registry.example.com/some:1.0"]
    configuration = json.loads(found[manifest["Config"]])
    (layer,) = manifest["Layers"]
    digest = hashlib.sha256(found[layer]).hexdigest()
    assert configuration["rootfs"]["diff_ids"] == [f"sha256:{digest}"]
    assert configuration["config"] == {
        "User": "10001:10001",
        "Entrypoint": ["/bin/some", "--quiet"],
        "Env": ["PATH=/bin"],
    }
    with tarfile.open(fileobj=io.BytesIO(found[layer])) as archive:
        assert {"bin/some", "data", "tmp"} <= set(archive.getnames())
        assert archive.getmember("data").uid == 10001


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    for name, content in (("one", b"1"), ("two", b"1"), ("three", b"2")):
        write_image(spec(content), tmp_path / name, name="some:1")
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two != three
