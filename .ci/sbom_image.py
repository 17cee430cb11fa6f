"""What the image of our Python tools is made of, for its bill of materials.

Run with the virtual environment's Python.
"""

from __future__ import annotations

import email
import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaizen_otel._stack.images import write_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._stack.images import ImageSpec

Component = dict[str, Any]


def digest(spec: ImageSpec) -> str:
    """The SHA-256 of the image's one layer."""
    with tempfile.TemporaryFile() as archive:
        write_archive(spec, archive)
        archive.seek(0)
        return hashlib.file_digest(archive, "sha256").hexdigest()


def components(spec: ImageSpec) -> list[Component]:
    """Its Python packages, the interpreter, and the system's libraries, by their references."""
    found = {one["bom-ref"]: one for one in (*_packages(spec), _interpreter(), *_libraries(spec))}
    return [found[reference] for reference in sorted(found)]


def _component(purl: str, name: str, version: str, *, kind: str = "library") -> Component:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _packages(spec: ImageSpec) -> Iterator[Component]:
    for path, content in spec.files.items():
        if path.endswith(".dist-info/METADATA"):
            text = content if isinstance(content, bytes) else content.read_bytes()
            fields = email.message_from_bytes(text)
            name, version = str(fields["Name"]), str(fields["Version"])
            normal = re.sub(r"[-_.]+", "-", name).lower()
            yield _component(f"pkg:pypi/{normal}@{version}", name, version)


def _interpreter() -> Component:
    """With its standard library and the libraries that stand beside it: the image has this one."""
    version = platform.python_version()
    return _component(f"pkg:generic/cpython@{version}", "cpython", version, kind="platform")


def _libraries(spec: ImageSpec) -> Iterator[Component]:
    """By the package that owns them here; where no package manager knows, by their content."""
    for path, content in spec.files.items():
        if path.startswith("python/") or not re.search(r"\.so(\.|$)", path):
            continue
        if owner := _owner(path):
            name, version = owner
            yield _component(f"pkg:deb/debian/{name}@{version}", name, version)
        else:
            assert isinstance(content, Path)
            version = hashlib.sha256(content.read_bytes()).hexdigest()
            name = path.rpartition("/")[2]
            yield _component(f"pkg:generic/{name}@{version}", name, version)


def _owner(path: str) -> tuple[str, str] | None:
    """Name and version of the Debian package that a file of this machine belongs to."""
    if shutil.which("dpkg-query") is None:
        return None
    for name in (f"/{path}", f"/usr/{path}"):
        found = _query("--search", name).partition(": ")[0]
        if found and "," not in found:
            return found.partition(":")[0], _query("--showformat=${Version}", "--show", found)
    return None


def _query(*arguments: str) -> str:
    done = subprocess.run(["dpkg-query", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
