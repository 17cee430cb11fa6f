"""The terminal capture in README: what the demo printed, compared without times and ids."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT / "docs" / "demo.txt"
_OPENING = "<!-- capture: docs/demo.txt -->\n```text\n"


def shown(output: str) -> str:
    """What of the output is shown: without the Collector's progress and with a neutral path."""
    body = output[output.index("2. A real Kaizen agent") :]
    return re.sub(r"(read back from ).*", r"\1~/.local/state/kaizen-otel/dev", body)


def masked(text: str) -> str:
    """Times, durations and ids as ``#``: the rest must be equal."""
    text = re.sub(r"\b[0-9a-f]{32}\b|(?<=trace )[0-9a-f]{8}\b", "#", text)
    text = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "#", text)
    text = re.sub(r" *\d+(\.\d+)? ms", " # ms", text)
    # How many checkpoints the audit trail sends through the logs depends on the time it took.
    text = re.sub(r"\d+ logs, \d+ metrics delivered", "# logs, # metrics delivered", text)
    return re.sub(r"sum [0-9.e-]+ s", "sum # s", text)


def keep(output: str) -> None:
    """Write the capture and put it into README."""
    text = shown(output)
    CAPTURE.write_text(text, encoding="utf-8")
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(_OPENING)
    _, after = rest.split("```", 1)
    readme.write_text(f"{before}{_OPENING}{text}```{after}", encoding="utf-8")
