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
    program = str(Path(sys.executable).with_name("kaizen-otel"))
    return subprocess.run(
        [program, *arguments],
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
