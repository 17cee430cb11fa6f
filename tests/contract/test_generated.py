"""What is generated equals what is committed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_names_is_what_the_table_says() -> None:
    spec = importlib.util.spec_from_file_location("names", ROOT / ".ci" / "names.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    committed = (ROOT / "docs" / "names.md").read_text(encoding="utf-8")
    assert committed == module.document(), "run: .venv/bin/python .ci/names.py"


def test_the_readme_shows_the_captured_demo() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- capture: docs/demo.txt -->\n```text\n")[1].split("```")[0]
    assert shown == (ROOT / "docs" / "demo.txt").read_text(encoding="utf-8")
