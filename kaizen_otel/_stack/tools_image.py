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
_KEPT_S = 24 * 3600
_ROOT = Path(__file__).resolve().parents[2]
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
    theirs = list(_files_of(_needed(_DISTRIBUTION)))
    base_key = _digest_of(theirs)
    base = build_once(
        "tools-base",
        base_key,
        lambda folder: _make_base(folder, theirs),
        cache=cache,
        progress=progress,
    )

    def make_own(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            _place(folder, _own_files(Path(scratch), progress))
        _compile(folder)

    own = build_once("tools-own", _digest_of(_sources()), make_own, cache=cache, progress=progress)
    _remove_old(own)
    return ImageSpec(
        name="tools",
        files={
            path.relative_to(tree).as_posix(): path
            for tree in (base, own)
            for path in tree.rglob("*")
            if path.is_file()
        },
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


def _digest_of(files: list[tuple[str, Path]]) -> str:
    state = hashlib.sha256(f"{sys.version} {_SCRIPT}".encode())
    for name, path in files:
        state.update(f"{name} {path.stat().st_size} ".encode())
        # A compiled library is as its package's version says, which is in a file of text.
        state.update(path.read_bytes() if path.suffix != ".so" else b"")
    return state.hexdigest()[:16]


def _remove_old(own: Path) -> None:
    """Remove what earlier versions of a checkout left, unless somebody may use it now."""
    newest = own.stat().st_mtime
    for other in own.parent.glob("tools-own-*"):
        if newest - other.stat().st_mtime > _KEPT_S:
            shutil.rmtree(other, ignore_errors=True)


def _make_base(folder: Path, packages: list[tuple[str, Path]]) -> None:
    """Put the interpreter, its library and the packages in their places."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        folder / _HOME / "lib" / version,
        ignore=lambda _, names: [
            name for name in names if name in _UNUSED or re.match(r"config-|.*\.a$|.*_test", name)
        ],
    )
    python = folder / _HOME / "bin" / "python3"
    python.parent.mkdir()
    shutil.copyfile(Path(sys.executable).resolve(), python)
    _place(folder, packages)
    script = folder / "usr" / "local" / "bin" / "kaizen-otel"
    script.parent.mkdir(parents=True)
    script.write_text(_SCRIPT, encoding="utf-8")
    for program in (script, python):
        program.chmod(0o755)
    compiled = [path for path in folder.rglob("*.so*") if path.is_file()]
    for name, path in linked_libraries([*compiled, python]).items():
        if not path.is_relative_to(folder):
            # The loader looks for the system's where it always does, for Python's where we tell it.
            is_own = path.is_relative_to(sys.base_prefix)
            target = folder / (f"{_HOME}/lib/{Path(name).name}" if is_own else name.lstrip("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o755)
    _compile(folder)


def _place(folder: Path, files: list[tuple[str, Path]]) -> None:
    for name, path in files:
        target = folder / _SITE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _compile(folder: Path) -> None:
    """Compile every module: a container cannot write.

    Files of an image have no times, by which Python would otherwise judge what it compiled.
    """
    compileall.compile_dir(
        folder / _HOME,
        quiet=2,
        stripdir=str(folder),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _is_checkout() -> bool:
    origin = metadata.distribution(_DISTRIBUTION).read_text("direct_url.json") or ""
    return '"editable": true' in origin


def _sources() -> list[tuple[str, Path]]:
    """What our package is made of: its files as installed, or those of the checkout."""
    if not _is_checkout():
        return list(_files_of([_DISTRIBUTION]))
    found = [_ROOT / "pyproject.toml"]
    for folder in ("kaizen_otel", "collector"):
        found += [
            path
            for path in (_ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        ]
    return sorted((path.relative_to(_ROOT).as_posix(), path) for path in found)


def _own_files(scratch: Path, progress: Callable[[str], None]) -> list[tuple[str, Path]]:
    """Our package's files: as installed, or, from a checkout, out of its wheel."""
    if not _is_checkout():
        return _sources()
    run_long(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(scratch)],
        what="building the wheel for the image",
        log_path=scratch / "wheel.log",
        working_directory=_ROOT,
        progress=progress,
    )
    root = scratch / "wheel"
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        wheel.extractall(root)
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
