"""Images for the cluster's own runtime, made from our programs: no registry is asked."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._stack import images
from kaizen_otel._stack.image_file import write_image
from kaizen_otel._stack.images import ImageSpec
from kaizen_otel._stack.tools_image import tools

if TYPE_CHECKING:
    from collections.abc import Callable

#: What the chart's value image.registry is in tests.
REGISTRY = "localhost/kaizen-otel"
TAG = "test"
PAUSE = "localhost/kaizen-otel/pause:1"

SPECS: dict[str, Callable[[], ImageSpec]] = {
    "kaizen-otel-collector": lambda: images.image_spec("collector"),
    "kaizen-otel-tools": tools,
    "jaeger": lambda: images.image_spec("jaeger"),
    "prometheus": lambda: images.image_spec("prometheus"),
    "elasticsearch": lambda: images.image_spec("elasticsearch"),
}


def pause(program: Path) -> ImageSpec:
    """The image whose container holds a pod's namespaces."""
    return ImageSpec(name="pause", files={"pause": program}, folders=(), entrypoint=("/pause",))


def reference(name: str) -> str:
    """Under which name a pod asks for one of our images."""
    return f"{REGISTRY}/{name}:{TAG}"


def loaded(socket: Path, *, name: str) -> bool:
    """Whether the container runtime has an image."""
    command = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "list", "-q"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return name in answer.stdout.split()


def load(spec: ImageSpec, socket: Path, *, name: str) -> None:
    """Give an image to the container runtime.  Raises CalledProcessError if it does not take it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "image.tar"
        write_image(spec, path, name=name)
        subprocess.run(
            ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "import", path],
            check=True,
            capture_output=True,
        )
