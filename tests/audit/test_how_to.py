"""The commands of the how-to pages, run one after the other on the trail that the demo leaves.

What they print is compared by the beginning of its last line: ids, times and counts differ.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import cache_directory, config_path
from kaizen_otel.errors import SetupError

pytestmark = pytest.mark.collector

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
# audit-operate stops and starts a Collector in between; its commands are tested by themselves.
NAMES = ("audit-verify", "audit-keys", "audit-erase", "audit-compliance")

_BLOCK = re.compile(
    r"^ *```(shell|python)\n(.*?)^ *```\n(?: *```text\n(.*?)^ *```\n)?", re.MULTILINE | re.DOTALL
)
_COMPLAINT = re.compile(r"^(?:error|Error|Usage|Traceback|warning|bash)\b.*", re.MULTILINE)


class Block(NamedTuple):
    language: str
    text: str
    printed: str


def blocks(name: str) -> list[Block]:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    return [Block(*found) for found in _BLOCK.findall(text)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the demo has run."""
    try:
        obtain([config_path("dev")], progress=print)
    except SetupError as error:
        pytest.skip(str(error))
    home = tmp_path_factory.mktemp("home")
    program = str(Path(sys.executable).with_name("kaizen-otel"))
    subprocess.run([program, "demo"], env=environment(home), check=True, capture_output=True)
    return home


def environment(home: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAIZEN_OTEL_", "OTEL_", "XDG_"))
    }
    state = home / ".local" / "state" / "kaizen-otel"
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "XDG_CACHE_HOME": str(cache_directory(os.environ).parent),
        "KAIZEN_OTEL_AUDIT_DIR": str(state / "dev" / "audit"),
        "KAIZEN_OTEL_SPOOL_DIR": str(state / "demo-spool"),
        "KAIZEN_OTEL_AUDIT_ENDPOINT": "http://127.0.0.1:9",  # the discard port: nobody listens
    }


def run(home: Path, name: str) -> list[str]:
    """Run a page's blocks in one shell; what each of them printed."""
    script: list[str] = []
    for number, block in enumerate(blocks(name)):
        if block.language == "python":
            (home / f"block{number}.py").write_text(block.text, encoding="utf-8")
            script.append(f"python block{number}.py")
        else:
            script.append(block.text)
        script.append("echo @@@")
    done = subprocess.run(
        ["bash"],
        input="\n".join(script),
        cwd=home,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout.split("@@@\n")[:-1]


def beginning(text: str) -> str:
    """The first words of the last line, without what differs from run to run."""
    line = text.strip().splitlines()[-1] if text.strip() else ""
    words = ["N" if re.search(r"[0-9/]", word) else word for word in line.split()]
    return " ".join(words[:4])


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_a_page_do_what_it_shows(name: str, demo: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(demo, home)
    printed = run(home, name)
    wanted = blocks(name)
    assert len(printed) == len(wanted), printed
    for block, text in zip(wanted, printed, strict=True):
        assert not _COMPLAINT.search(text), (block.text, text)
        if block.printed:
            assert beginning(text) == beginning(block.printed), (block.text, text)
