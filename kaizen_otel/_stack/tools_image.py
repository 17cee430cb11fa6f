"""The image of our Python tools: this interpreter, ``kaizen-otel`` and what it needs, no shell."""

from __future__ import annotations

import compileall
import hashlib
import py_compile
import re
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._stack.build import build_once, run_long, say
from kaizen_otel._stack.images import ImageSpec, linked_libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HOME = "python"
_SITE = f"{_HOME}/site"
_DISTRIBUTION = "kaizen-otel"
# Of the standard library: what serves making programs, not running them.
_UNUSED = {
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter"),
    *("turtledemo", "ensurepip", "lib2to3", "pydoc_data"),
}
_SCRIPT = f"""#!/{_HOME}/bin/python3
import sys

from kaizen_otel._cli import main

sys.exit(main())
"""


def tools(*, cache: Path | None = None, progress: Callable[[str], None] = say) -> ImageSpec:
    """What the image holds; made once for each interpreter and each version of the packages.

    Raises SetupError if the wheel of a checkout cannot be built.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ours = _own_files(Path(scratch), progress)
        theirs = list(_files_of(_needed(_DISTRIBUTION)))
        state = hashlib.sha256(f"{sys.version} {_SCRIPT}".encode())
        for name, path in [*ours, *theirs]:
            state.update(f"{name} {path.stat().st_size} ".encode())
            state.update(path.read_bytes() if path.suffix == ".py" else b"")

        def make(folder: Path) -> None:
            _make(folder, [*ours, *theirs])

        tree = build_once("tools", state.hexdigest()[:16], make, cache=cache, progress=progress)
    files = {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}
    programs = [path for name, path in files.items() if name.endswith("/python3") or ".so" in name]
    libraries = {
        (f"{_HOME}/lib/{Path(name).name}" if path.is_relative_to(sys.base_prefix) else name): path
        for name, path in linked_libraries(programs).items()
        if not path.is_relative_to(tree)
    }
    return ImageSpec(
        name="tools",
        files={**libraries, **files},
        folders=("data",),
        entrypoint=("/usr/local/bin/kaizen-otel",),
        environment={
            "PATH": f"/usr/local/bin:/{_HOME}/bin",
            "PYTHONPATH": f"/{_SITE}",
            "LD_LIBRARY_PATH": f"/{_HOME}/lib",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        },
    )


def _make(folder: Path, packages: list[tuple[str, Path]]) -> None:
    """Put everything in its place and compile it: the image's file system cannot be written."""
    standard = Path(sysconfig.get_path("stdlib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(
        standard,
        folder / _HOME / "lib" / version,
        ignore=lambda _, names: [
            name for name in names if name in _UNUSED or re.match(r"config-|.*\.a$|.*_test", name)
        ],
    )
    (folder / _HOME / "bin").mkdir()
    shutil.copyfile(Path(sys.executable).resolve(), folder / _HOME / "bin" / "python3")
    for name, path in packages:
        target = folder / _SITE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    script = folder / "usr" / "local" / "bin" / "kaizen-otel"
    script.parent.mkdir(parents=True)
    script.write_text(_SCRIPT, encoding="utf-8")
    for program in (script, folder / _HOME / "bin" / "python3"):
        program.chmod(0o755)
    # Files of an image have no times, by which Python would otherwise judge what it compiled.
    compileall.compile_dir(
        folder / _HOME,
        quiet=2,
        stripdir=str(folder),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _own_files(scratch: Path, progress: Callable[[str], None]) -> list[tuple[str, Path]]:
    """Our package's files: as installed, or, from a checkout, out of its wheel."""
    origin = metadata.distribution(_DISTRIBUTION).read_text("direct_url.json") or ""
    if '"editable": true' not in origin:
        return list(_files_of([_DISTRIBUTION]))
    run_long(
        [
            *(sys.executable, "-m", "hatchling", "build", "-t", "wheel"),
            *("-d", str(scratch)),
        ],
        what="building the wheel for the image",
        log_path=scratch / "wheel.log",
        working_directory=Path(__file__).resolve().parents[2],
        progress=progress,
    )
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        wheel.extractall(scratch / "wheel")
    root = scratch / "wheel"
    return sorted(
        (path.relative_to(root).as_posix(), path) for path in root.rglob("*") if path.is_file()
    )


def _needed(name: str) -> list[str]:
    """What a distribution needs to be installed, and what that needs; extras are not asked for."""
    found: dict[str, None] = {}
    waiting = _requirements(name)
    while waiting:
        each = waiting.pop()
        if each not in found:
            found[each] = None
            waiting += _requirements(each)
    return sorted(found)


def _requirements(name: str) -> list[str]:
    try:
        lines = metadata.distribution(name).requires or []
    except metadata.PackageNotFoundError:  # asked for on other systems or Pythons only
        return []
    return [
        match[0]
        for line in lines
        if "extra ==" not in line and (match := re.match(r"[\w.-]+", line))
    ]


def _files_of(names: list[str]) -> Iterator[tuple[str, Path]]:
    for name in names:
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            path = Path(str(file.locate()))
            if path.suffix != ".pyc" and ".." not in file.parts and path.is_file():
                yield file.as_posix(), path
