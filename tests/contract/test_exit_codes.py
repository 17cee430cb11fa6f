"""The exit codes of the command line: an interface, used by scripts and pipelines."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaizen_otel import errors

PROGRAM = str(Path(sys.executable).with_name("kaizen-otel"))
PROMISED = {
    "KaizenOtelError": 1,
    "ConfigError": 2,
    "NotEnabledError": 3,
    "ProviderExistsError": 3,
    "PlatformError": 3,
    "SetupError": 4,
    "SpoolError": 5,
    "SpoolFullError": 5,
    "SpoolFailedError": 5,
    "RecordTooLargeError": 5,
    "AuditUnavailableError": 5,
    "SubjectKeyError": 5,
}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_every_error_has_the_exit_code_that_was_promised() -> None:
    classes = inspect.getmembers(errors, inspect.isclass)
    codes = {
        name: cls.exit_code for name, cls in classes if issubclass(cls, errors.KaizenOtelError)
    }
    assert codes == PROMISED


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["collector", "--help"]])
def test_a_question_about_the_command_itself_ends_with_0(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert done.stdout


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["collector", "no-such"], ["demo", "--no-such"]]
)
def test_a_wrong_argument_ends_with_2_and_names_it(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "no-such" in done.stderr


def test_a_setting_that_cannot_be_used_ends_with_2_and_says_what_to_give() -> None:
    done = run("collector", "validate", "--config", "no-such-file.yaml")
    assert done.returncode == 2
    assert "no-such-file.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_json_the_error_is_json_on_standard_output() -> None:
    done = run("collector", "validate", "--config", "no-such-file.yaml", "--json")
    assert done.returncode == 2
    answer = json.loads(done.stdout)
    assert answer["error"] == "ConfigError"
    assert "no-such-file.yaml" in answer["message"]


def test_a_program_that_cannot_be_obtained_ends_with_4_and_says_what_to_install(
    tmp_path: Path,
) -> None:
    done = run(
        *("collector", "obtain", "--config", "dev", "--no-download", "--no-build"),
        PATH="/nonexistent",
        XDG_CACHE_HOME=str(tmp_path),
        KAIZEN_OTEL_COLLECTOR="",
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


LISTS = ["collector", "lint", "--list"]
"""A command that prints a little and needs nothing."""
VERIFIES = ["audit", "verify", str(Path(__file__).parents[1] / "trail" / "collector_trail.jsonl")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [LISTS, VERIFIES, ["audit", "status"]], ids=" ".join)
def test_output_that_cannot_be_written_ends_with_3_and_says_so(
    arguments: list[str], tmp_path: Path
) -> None:
    """Above all not with 1, which says of a trail that somebody tampered with it."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        )
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: cannot be read or written")
    assert "No space left" in line


@pytest.mark.parametrize("arguments", [LISTS, VERIFIES], ids=" ".join)
def test_whoever_reads_the_output_may_leave_without_a_word(arguments: list[str]) -> None:
    """As in `kaizen-otel audit verify | head -1`: 141, like any program of the shell."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [PROGRAM, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("stack", "down", "--native", XDG_STATE_HOME=str(tmp_path / "file"))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "file") in done.stderr


WITHOUT_A_NAME = """
import os
from kaizen_otel._collector.resources import state_directory
from kaizen_otel._trail.access import user_name
from kaizen_otel.config import Config
for name in ("HOME", "USERPROFILE", "USER", "LOGNAME", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
os.setuid(54321)  # whom no system knows
print(Config.from_environment({}).audit.directory)
print(state_directory(os.environ))
print(user_name())
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root becomes another user")
def test_a_process_needs_neither_a_home_nor_a_users_name() -> None:
    """Such are containers and services with a number for a user."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_NAME], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [
        "/.local/state/kaizen-otel/spool",
        "/.local/state/kaizen-otel",
        "54321",
    ], done.stderr
