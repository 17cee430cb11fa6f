"""Make ``collector/builder/distribution`` anew with the official builder: run this file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BUILDER = "go.opentelemetry.io/collector/cmd/builder"
BUILDER_VERSION = "v0.162.0"
SOURCE = Path(__file__).resolve().parents[2] / "collector"
MANIFESTS = {"dev": "manifest-dev.yaml", "gateway": "manifest.yaml"}


def builder(cache: Path) -> Path:
    """The official builder, installed once into the cache."""
    folder = cache / "collector" / f"builder-{BUILDER_VERSION}"
    program = folder / "builder"
    if not program.is_file():
        environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        command = ["go", "install", f"{BUILDER}@{BUILDER_VERSION}"]
        subprocess.run(command, check=True, env=environment)
    return program


def generate(program: Path, target: Path) -> None:
    """Write the sources of both distributions below ``target``, as the manifests say."""
    # The builder resolves the relative `replaces` from its output, so the layout must be the same.
    for part in ("builder", "exporter", "extension"):
        shutil.copytree(SOURCE / part, target / part, ignore=shutil.ignore_patterns("distribution"))
    for manifest in MANIFESTS.values():
        (target / "builder" / "distribution").mkdir(exist_ok=True)
        subprocess.run(
            [str(program), "--config", manifest, "--skip-compilation"],
            check=True,
            cwd=target / "builder",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def main() -> int:
    """Replace the committed sources."""
    sys.path.insert(0, str(SOURCE.parent))
    from kaizen_otel._collector.resources import cache_directory

    program = builder(cache_directory(os.environ))
    with tempfile.TemporaryDirectory() as scratch:
        generate(program, Path(scratch))
        committed = SOURCE / "builder" / "distribution"
        shutil.rmtree(committed, ignore_errors=True)
        shutil.copytree(Path(scratch) / "builder" / "distribution", committed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
