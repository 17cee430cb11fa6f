"""What is done with a module when somebody imports it."""

from __future__ import annotations

import importlib
import importlib.resources
import inspect
import sys
from typing import TYPE_CHECKING

import pytest

from kaizen_otel.integrations._on_import import forget_import, on_import

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

NAME = "awaited_package.awaited"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "awaited_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "data.txt").write_text("kept")
    (folder / "awaited.py").write_text("from awaited_package import beside\nanswer = 42\n")
    (folder / "beside.py").write_text("")
    (folder / "broken.py").write_text("raise LookupError('broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.meta_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("awaited_package")]:
        del sys.modules[name]
    assert sys.meta_path == before, "nothing of ours stays"


def test_a_module_is_told_of_right_after_its_import_and_is_what_it_would_have_been() -> None:
    seen: list[int] = []
    on_import(NAME, lambda module: seen.append(module.answer))
    assert NAME not in sys.modules, "we do not import it ourselves"
    module = importlib.import_module(NAME)
    assert seen == [42]
    assert type(module.__loader__).__module__ != on_import.__module__
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    assert "answer = 42" in inspect.getsource(module)
    assert (importlib.resources.files("awaited_package") / "data.txt").read_text() == "kept"


def test_what_is_loaded_already_is_told_of_at_once() -> None:
    importlib.import_module(NAME)
    seen: list[ModuleType] = []
    on_import(NAME, seen.append)
    assert [module.__name__ for module in seen] == [NAME]


def test_everybody_who_awaits_it_is_told_once() -> None:
    first: list[object] = []
    second: list[object] = []
    on_import(NAME, first.append)
    on_import(NAME, second.append)
    importlib.import_module(NAME)
    importlib.reload(sys.modules[NAME])
    assert (len(first), len(second)) == (1, 1)


def test_who_does_not_want_to_know_any_more_is_not_told() -> None:
    seen: list[ModuleType] = []
    on_import(NAME, seen.append)
    forget_import(NAME, seen.append)  # another bound method of the same list: equal
    importlib.import_module(NAME)
    assert seen == []


def test_a_module_that_fails_is_not_told_of_and_its_error_is_the_importers() -> None:
    seen: list[ModuleType] = []
    on_import("awaited_package.broken", seen.append)
    with pytest.raises(LookupError, match="broken"):
        importlib.import_module("awaited_package.broken")
    assert seen == []
    forget_import("awaited_package.broken", seen.append)


def test_a_module_that_is_not_there_is_as_missing_as_before() -> None:
    seen: list[ModuleType] = []
    on_import("awaited_package.missing", seen.append)
    with pytest.raises(ModuleNotFoundError, match=r"awaited_package\.missing"):
        importlib.import_module("awaited_package.missing")
    forget_import("awaited_package.missing", seen.append)
    forget_import("awaited_package.missing", seen.append)
