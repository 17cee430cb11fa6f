"""Writes docs/reference/configuration.md from the table in kaizen_otel/_variables.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from kaizen_otel import _variables as variables  # noqa: E402 - found by the line above

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PAGE = ROOT / "docs" / "reference" / "configuration.md"
HEAD = """\
# Configuration

<!-- Written by .ci/configuration.py from kaizen_otel/_variables.py; do not edit. -->

An agent is configured by environment variables: the standard ones of OpenTelemetry where there is
one, and few of our own. What is given in the program wins over them. Empty is the same as unset.
A value that cannot be used is named in a warning of the logger `kaizen_otel`, and the default is
used; `kaizen-otel doctor` shows these warnings, variables that are set without effect, and
misspelt ones.

## Telemetry
"""
OTLP = """
## Where it is sent

Each of these is read as `OTEL_EXPORTER_OTLP_...` for all signals, and with `TRACES_`, `METRICS_` or
`LOGS_` before it for one of them, which then wins (`OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`). What is set
for logs holds for audit records as well, except the endpoint and what is set for audit alone.
"""
CREDENTIALS = """
## Who we are

What the standard has no variable for. A token file wins over an `authorization` of the headers, but
the headers of one signal win over the token of all. A token file, an authority, a certificate and a
key are read again when their files change; see [](../how-to/certificates.md).
"""
OURS = "\n## The audit trail, and what no standard variable says\n"
TOOLS = "\n## The tools and the Collector\n"
ELSEWHERE = "\n## Read by others, with effect on us\n"
NOT_READ = """
## Not read

Variables of the specification and of the stock SDK that our own emitter does not read. The stock
SDK's providers (`kaizen_otel.providers`) read those of their samplers, limits and resources
themselves.
"""


def _table(found: Iterable[variables.Variable], prefix: str = "") -> list[str]:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for one in found:
        default = f"`{one.default}`" if one.is_literal else one.default
        rows.append(f"| `{prefix}{one.name}` | {default} | {one.meaning} |")
    return rows


def _pairs(found: Mapping[str, str], head: str) -> list[str]:
    rows = [f"| variable | {head} |", "|---|---|"]
    for names, text in found.items():
        rows.append(f"| {', '.join(f'`{name}`' for name in names.split(', '))} | {text} |")
    return rows


def document() -> str:
    """The page."""
    lines = [HEAD, *_table(variables.TELEMETRY), OTLP]
    lines += [*_table(variables.OTLP, "OTEL_EXPORTER_OTLP_")]
    lines += [CREDENTIALS, *_table(variables.CREDENTIALS), OURS, *_table(variables.OURS)]
    lines += [TOOLS, *_pairs(variables.TOOLS, "meaning")]
    lines += [ELSEWHERE, *_pairs(variables.ELSEWHERE, "meaning")]
    lines += [NOT_READ, *_pairs(variables.NOT_READ, "instead"), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
