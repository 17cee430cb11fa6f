"""Known vulnerabilities of what is shipped: ``make vulnerabilities``.

    python .ci/vulnerabilities.py [--here]     run with the virtual environment's Python

``--here`` takes the wheel's environment that ``.ci/sbom.py`` has made.

``pip-audit`` judges the wheel's requirements, ``govulncheck`` our Collectors.  Exit codes:

    0  everything was looked up, and nothing is known
    1  something is known: it is printed
    4  nothing is known, but not everything could be looked up: no advisory database was reached,
       or a tool could not be had

(``make`` itself ends with 2 for any of them and prints the code.)  Where databases are mirrored,
``OSV_URL`` names the one for Python packages (the API of osv.dev) and ``GO_VULNERABILITY_DATABASE``
the one for Go modules (also ``file:///folder``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import supply_chain

from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

CLEAN, KNOWN, UNKNOWN = 0, 1, 4
_LINES_SHOWN = 3


@dataclass(slots=True, kw_only=True)
class Answer:
    """What one tool said of one thing."""

    about: str
    checked: int = 0
    """How many packages or modules were looked up."""
    known: list[str] = field(default_factory=list[str])
    unchecked: str = ""
    """Why something was not looked up; empty if everything was."""


def of_python(python: Path, tools: Path) -> Answer:
    """What pip-audit says of the packages of an environment."""
    answer = Answer(about="wheel")
    listed = supply_chain.FOLDER / "requirements.txt"
    pins = _output([sys.executable, "-m", "pip", "--python", str(python), "freeze"])
    wanted = [line for line in pins.stdout.splitlines() if "==" in line and "@" not in line]
    listed.write_text("\n".join(wanted) + "\n")
    command = [
        str(tools / "pip-audit"), "--requirement", str(listed), "--no-deps", "--disable-pip",
        "--format", "json", "--progress-spinner", "off", "--cache-dir",
        str(supply_chain.FOLDER / "pip-audit"),
    ]  # fmt: skip
    if url := os.environ.get("OSV_URL"):
        command += ["--vulnerability-service", "osv", "--osv-url", url]
    done = _output(command)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        answer.unchecked = _end(done.stderr)
        return answer
    # A package that its service does not answer for is skipped, and pip-audit ends with 0.
    skipped = [one["name"] for one in found if "skip_reason" in one]
    answer.checked = len(found) - len(skipped)
    answer.known = [
        f"{one['name']} {one['version']}: {advisory['id']}"
        for one in found
        for advisory in one.get("vulns", ())
    ]
    if skipped:
        answer.unchecked = f"the service has no answer for {', '.join(skipped)}"
    return answer


def of_binary(name: str, binary: Path, govulncheck: Path) -> Answer:
    """What govulncheck says of the modules and functions in a Go binary."""
    answer = Answer(about=f"Collector {name}")
    command = [str(govulncheck), "-mode=binary", "-format=json"]
    if url := os.environ.get("GO_VULNERABILITY_DATABASE"):
        command += ["-db", url]
    done = _output([*command, str(binary)])
    if done.returncode:
        answer.unchecked = _end(done.stderr)
        return answer
    found = _values(done.stdout)
    answer.known = sorted({
        f"{one['finding']['trace'][0]['module']} {one['finding']['trace'][0].get('version', '')}: "
        f"{one['finding']['osv']}"
        for one in found
        if "finding" in one
    })  # fmt: skip
    answer.checked = sum(len(one["SBOM"].get("modules", ())) for one in found if "SBOM" in one)
    return answer


def verdict(answers: list[Answer]) -> int:
    """Print what was found; the exit code."""
    for answer in answers:
        for known in answer.known:
            print(f"{answer.about}: KNOWN {known}")
        if answer.unchecked:
            print(f"{answer.about}: NOT CHECKED, {answer.unchecked}")
        print(f"{answer.about}: {answer.checked} looked up, {len(answer.known)} advisories")
    if any(answer.known for answer in answers):
        return KNOWN
    if any(answer.unchecked for answer in answers):
        print(
            "Nothing was found, but not everything was looked up: no advisory database was "
            "reached. This says NOTHING about vulnerabilities; run it where pypi.org (or osv.dev) "
            "and vuln.go.dev or mirrors of them can be reached: OSV_URL, GO_VULNERABILITY_DATABASE."
        )
        return UNKNOWN
    return CLEAN


def _output(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _end(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-_LINES_SHOWN:]) or "it said nothing"


def _values(text: str) -> list[dict[str, Any]]:
    """The JSON values of a text in which they follow each other."""
    decoder, at = json.JSONDecoder(), 0
    found: list[dict[str, Any]] = []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def main(arguments: list[str]) -> int:
    """Ask both tools about everything that is shipped."""
    made = supply_chain.FOLDER / "environment" / "bin" / "python"
    answers: list[Answer] = []
    try:
        tools = supply_chain.tools()
        python = made if arguments == ["--here"] else supply_chain.wheel_environment()
        answers.append(of_python(python, tools))
    except SetupError as error:
        answers.append(Answer(about="wheel", unchecked=str(error)))
    try:
        govulncheck = supply_chain.govulncheck()
        for name, binary in supply_chain.binaries().items():
            answers.append(of_binary(name, binary, govulncheck))
    except SetupError as error:
        answers.append(Answer(about="Collector", unchecked=str(error)))
    return verdict(answers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
