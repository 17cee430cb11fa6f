"""Bills of materials in CycloneDX JSON, of wheel, Collectors and tools' image: ``make sbom``.

The image of a Collector holds its binary alone.

    python .ci/sbom.py [FOLDER]     else build/sbom

Run with the virtual environment's Python.  The same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import sbom_image
import supply_chain
from common import BUILD, ROOT

from kaizen_otel._collector.obtain import inspect_binary
from kaizen_otel._stack.tools_image import tools
from kaizen_otel._version import __version__
from kaizen_otel.errors import SetupError

_SPECIFICATION = "1.6"
# Strict: an unknown key is an error.
_CHECK = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
check = JsonStrictValidator(SchemaVersion.V1_6)
faults = [(path, check.validate_str(open(path).read())) for path in sys.argv[1:]]
sys.exit("\\n".join(f"{path}: {fault}" for path, fault in faults if fault) or None)
"""


def of_wheel(target: Path, tools: Path) -> None:
    """The wheel and everything that it requires, by the official tool."""
    python = supply_chain.wheel_environment()
    supply_chain.quietly(
        tools / "cyclonedx-py", "environment", "--no-validate", "--output-reproducible",
        "--mc-type", "library", "--spec-version", _SPECIFICATION, "--output-format", "JSON",
        "--output-file", target, "--pyproject", ROOT / "pyproject.toml", python,
    )  # fmt: skip


def of_binary(target: Path, binary: Path) -> None:
    """Every module that a Go binary says it was built from, and Go itself."""
    if shutil.which("go") is None:
        raise SetupError("what a binary was built from is read by Go: install https://go.dev/dl")
    done = subprocess.run(
        ["go", "version", "-m", "-json", str(binary)], capture_output=True, text=True, check=True
    )
    document = bill(
        modules_of(json.loads(done.stdout)),
        name=binary.name,
        version=inspect_binary(binary).version_text.rpartition(" ")[2],
        digest=hashlib.sha256(binary.read_bytes()).hexdigest(),
    )
    _write(target, document)


def of_tools_image(target: Path) -> None:
    """The Python image with the verifier and the guard."""
    spec = tools()
    document = bill(
        sbom_image.components(spec),
        name="kaizen-otel-tools",
        version=__version__,
        digest=sbom_image.digest(spec),
        kind="container",
    )
    _write(target, document)


def _write(target: Path, document: dict[str, Any]) -> None:
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def modules_of(build: dict[str, Any]) -> list[dict[str, Any]]:
    """The components in what ``go version -m -json`` says of a binary (debug.BuildInfo)."""
    modules = [(module["Path"], module["Version"]) for module in build["Deps"]]
    modules.append(("stdlib", build["GoVersion"].removeprefix("go")))
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:golang/{path}@{number}",
            "name": path,
            "version": number,
            "purl": f"pkg:golang/{path}@{number}",
        }
        for path, number in sorted(modules)
    ]


def bill(
    components: list[dict[str, Any]],
    *,
    name: str,
    version: str,
    digest: str,
    kind: str = "application",
) -> dict[str, Any]:
    """The document of one program or image: all its components are below the root."""
    root = f"pkg:generic/{name}@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": _SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": kind,
                "bom-ref": root,
                "name": name,
                "version": version,
                "purl": root,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        },
        "components": components,
        # Which component asked for which is not in a binary or an image.
        "dependencies": [
            {"ref": root, "dependsOn": [component["bom-ref"] for component in components]}
        ],
    }


def main(folder: Path) -> int:
    """Write and check all of them; 4 with the reason if something needed is not to be had."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        checkers = supply_chain.tools()
        of_wheel(folder / "kaizen-otel.cdx.json", checkers)
        for name, binary in supply_chain.binaries().items():
            of_binary(folder / f"collector-{name}.cdx.json", binary)
        of_tools_image(folder / "tools-image.cdx.json")
        made = sorted(folder.glob("*.cdx.json"))
        supply_chain.quietly(checkers / "python", "-c", _CHECK, *made)
        for path in made:
            count = len(json.loads(path.read_text(encoding="utf-8"))["components"])
            print(f"{path}: {count} components, valid CycloneDX {_SPECIFICATION}")
    except SetupError as error:
        print(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else BUILD / "sbom"))
