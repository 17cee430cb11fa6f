"""The commands query, tail and pseudonym: what they print, and that nothing in a record hurts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaizen_otel._cli.audit import audit
from kaizen_otel.audit._content import Pseudonyms
from tests.trail.query_kit import ACTIVE, SECOND_NS, START_NS, line, record

KEY = bytes(range(32))
SEALED = "audit-2026-11-24T16-00-00.000.jsonl"


class House:
    def __init__(self, root: Path) -> None:
        self.trail, self.spool, self.cache = root / "trail", root / "spool", root / "cache"
        self.trail.mkdir()
        self.spool.mkdir()
        (self.spool / "pseudonym.key").write_bytes(KEY)
        self.env = {
            "KAIZEN_OTEL_SPOOL_DIR": str(self.spool),
            "KAIZEN_OTEL_AUDIT_DIR": str(self.trail),
            "XDG_CACHE_HOME": str(self.cache),
        }

    def fill(self, name: str, *records: dict[str, object]) -> None:
        path = self.trail / name
        path.write_bytes(b"".join(line(one) for one in records))
        os.utime(path, (1, 1))

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            audit, arguments, env=self.env, input=stdin, standalone_mode=False
        )


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def count(result: Result) -> int:
    assert result.return_value == 0, result.output
    return len(result.stdout.splitlines())


def test_trace_ids_may_be_written_in_capitals(house: House) -> None:
    house.fill(ACTIVE, *(record(number, START_NS) for number in range(1, 20)))
    assert count(house.run("query", "--trace", f"{10:032X}")) == 1


def test_the_index_stands_in_the_readers_cache_and_never_in_the_trail(house: House) -> None:
    house.fill(SEALED, *(record(number, START_NS + number * SECOND_NS) for number in range(99)))
    before = sorted(house.trail.iterdir())
    arguments = ["query", "--since", "2026-11-18T11:07:00+00:00", "--until", "2026-11-18T11:07:09Z"]
    assert count(house.run(*arguments, "--no-index")) == 10
    assert not house.cache.exists()
    for _ in range(2):
        assert count(house.run(*arguments)) == 10
    assert sorted(house.trail.iterdir()) == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in house.cache.rglob("*.times"))


def test_control_characters_in_a_record_do_not_reach_the_terminal(house: House) -> None:
    house.fill(ACTIVE, record(1, START_NS, agent="\x1b[2J\r\nforged  line"))
    result = house.run("query")
    assert count(result) == 1
    assert "\x1b" not in result.stdout
    [found] = [json.loads(text) for text in house.run("query", "--json").stdout.splitlines()]
    assert found["agent"] == "\x1b[2J\r\nforged  line"


def test_half_a_character_in_a_record_is_printed_as_an_escape(house: House) -> None:
    text = line(record(1, START_NS, agent="xx")).replace(b'"xx"', b'"\\ud800"')
    (house.trail / ACTIVE).write_bytes(text)
    assert count(house.run("query", "--json")) == 1
    assert count(house.run("query")) == 1


def test_tail_takes_filters(house: House) -> None:
    house.fill(ACTIVE, record(1, START_NS, agent="a"), record(2, START_NS, agent="b"))
    assert count(house.run("tail", "--once", "--from-start", "--agent", "b")) == 1


def test_a_pseudonym_is_what_stands_in_the_trail(house: House) -> None:
    expected = Pseudonyms(KEY)
    assert house.run("pseudonym", "bob").stdout == expected.of("bob") + "\n"
    assert house.run("pseudonym", "-", stdin="bob\n").stdout == expected.of("bob") + "\n"
    arguments = '{"b": 1, "a": [2]}'
    found = json.loads(house.run("pseudonym", "--parse", "--json", arguments).stdout)
    assert found == {"pseudonym": expected.of({"a": [2], "b": 1})}
    assert "leave --parse out" in str(house.run("pseudonym", "--parse", "{").exception)


def test_without_the_key_there_is_no_pseudonym(house: House) -> None:
    (house.spool / "pseudonym.key").unlink()
    assert "holds no pseudonym key" in str(house.run("pseudonym", "bob").exception)


def test_commands_whose_module_is_there_are_listed(house: House) -> None:
    result = house.run("--help")
    for name in ("query", "export", "report", "heads", "prune", "verify", "erase", "keys"):
        assert f"\n  {name} " in result.stdout
    assert "No such command" in str(house.run("nothing").exception)


def test_whoever_has_read_enough_may_go(house: House) -> None:
    """``query | head -1``: no stack trace, and no "cannot be read"."""
    house.fill(ACTIVE, *(record(number, START_NS) for number in range(1, 3000)))
    program = str(Path(sys.executable).with_name("kaizen-otel"))
    process = subprocess.Popen(
        [program, "audit", "query", "--json"],
        env={**os.environ, **house.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in error
    assert "cannot be read" not in error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--trace", "5a5dc415"], "32 hexadecimal digits"),
        (["--since", "2026-11-24", "--until", "2026-11-23"], "--since is later than --until"),
        (["--trail", __file__], "give --trail its folder"),
    ],
)
def test_a_question_that_nothing_can_answer_is_a_wrong_argument(
    arguments: list[str], named: str, house: House
) -> None:
    """Silence would look like an answer."""
    assert named in str(house.run("query", *arguments).exception)


@pytest.mark.parametrize("command", ["status", "flush", "reconcile"])
def test_a_spool_that_was_named_must_be_there(command: str, house: House) -> None:
    """A hook with a slip of the pen would find for ever that nothing waits."""
    result = house.run(command, "--spool", "/no/such/spool")
    assert result.return_value == 3
    assert "/no/such/spool cannot be read" in result.stderr


def test_in_a_spool_that_no_agent_has_made_yet_nothing_waits(house: House) -> None:
    house.env["KAIZEN_OTEL_SPOOL_DIR"] = "/no/such/spool"
    for command in ("status", "flush"):
        result = house.run(command)
        assert result.return_value == 0
        assert result.stderr == ""


def test_tail_tells_of_a_folder_that_is_not_there(house: House) -> None:
    result = house.run("tail", "--once", "--trail", "/no/such/folder")
    assert result.return_value == 3
    assert "/no/such/folder cannot be read" in result.stderr


def test_tail_waits_for_a_trail_that_begins_later_and_says_so(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("kaizen-otel"))
    folder = tmp_path / "trail"
    process = subprocess.Popen(
        [program, "audit", "tail", "--trail", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stderr.readline() == f"warning: {folder} is not there yet: waiting for it\n"
    folder.mkdir()
    (folder / ACTIVE).write_bytes(line(record(1, START_NS, agent="first")))
    assert "first" in process.stdout.readline()
    process.terminate()
    process.communicate()
