"""Make ``collector/kibana/saved-objects.ndjson``: what Kibana shows of logs and audit checkpoints.

    python .ci/kibana.py           writes it
    python .ci/kibana.py --check   1 if the file is not what this source says

Run with the virtual environment's Python.  The shapes are those that Kibana 8.8 and later export.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from common import ROOT

from kaizen_otel.audit.record import OWN_EVENTS

FILE = ROOT / "collector" / "kibana" / "saved-objects.ndjson"
DATA_VIEW = "kaizen-otel-logs"
INDEX = "logs-kaizen.otel-*"
TRACE_LINK = "http://localhost:16686/trace/{{value}}"
# Which migrations of Kibana the shapes have behind them, as an export says it.
CORE_VERSION = "8.8.0"
TYPE_VERSIONS = {"index-pattern": "8.0.0", "search": "10.5.0", "dashboard": "8.9.0"}
PANEL_VERSION = "8.9.0"
COLUMNS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A saved search: a question in KQL, and which fields are shown."""

    name: str
    title: str
    description: str
    question: str
    columns: tuple[str, ...]


SEARCHES = (
    Search(
        name="kaizen-otel-problems",
        title="Agents: warnings and errors",
        description="What agents logged at WARN or above; the trace id leads to Jaeger.",
        question="severity_number >= 13",
        columns=("service.name", "severity_text", "event_name", "body.text", "trace_id"),
    ),
    Search(
        name="kaizen-otel-audit-checkpoints",
        title="Agents: audit checkpoints",
        description=(
            "Signed statements of each audit stream, kept apart from the trail: an anchor for "
            "`kaizen-otel audit verify --anchors`.  The trail itself is seen in `kaizen-otel view`."
        ),
        question="event_name : (" + " or ".join(f'"{name}"' for name in sorted(OWN_EVENTS)) + ")",
        columns=("service.name", "event_name", "body.text", "attributes", "trace_id"),
    ),
    Search(
        name="kaizen-otel-logs-all",
        title="Agents: all log records",
        description="Everything that agents logged; the trace id leads to Jaeger.",
        question="",
        columns=("service.name", "severity_text", "event_name", "body.text", "trace_id"),
    ),
)


def compact(value: object) -> str:
    """JSON as it stands inside of a saved object."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def saved(
    kind: str, name: str, attributes: dict[str, Any], references: list[dict[str, str]]
) -> dict[str, Any]:
    """One saved object."""
    return {
        "attributes": attributes,
        "coreMigrationVersion": CORE_VERSION,
        "id": name,
        "managed": False,
        "references": references,
        "type": kind,
        "typeMigrationVersion": TYPE_VERSIONS[kind],
    }


def data_view() -> dict[str, Any]:
    """The log records, with a link from each trace id to its trace in Jaeger."""
    link = {"type": "a", "urlTemplate": TRACE_LINK, "labelTemplate": "{{value}}"}
    attributes = {
        "allowHidden": False,
        "fieldAttrs": "{}",
        "fieldFormatMap": compact({"trace_id": {"id": "url", "params": link}}),
        "fields": "[]",
        "name": "Agents: logs",
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
        "timeFieldName": "@timestamp",
        "title": INDEX,
    }
    return saved("index-pattern", DATA_VIEW, attributes, [])


def search(which: Search) -> dict[str, Any]:
    """One saved search over the data view, newest first."""
    name = "kibanaSavedObjectMeta.searchSourceJSON.index"
    source = {
        "filter": [],
        "indexRefName": name,
        "query": {"language": "kuery", "query": which.question},
    }
    attributes = {
        "columns": list(which.columns),
        "description": which.description,
        "grid": {},
        "hideChart": False,
        "isTextBasedQuery": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": compact(source)},
        "sort": [["@timestamp", "desc"]],
        "timeRestore": False,
        "title": which.title,
    }
    reference = {"id": DATA_VIEW, "name": name, "type": "index-pattern"}
    return saved("search", which.name, attributes, [reference])


def dashboard() -> dict[str, Any]:
    """One page with the searches below each other."""
    height = 14
    panels = [
        {
            "embeddableConfig": {"enhancements": {}},
            "gridData": {"h": height, "i": which.name, "w": COLUMNS, "x": 0, "y": row * height},
            "panelIndex": which.name,
            "panelRefName": f"panel_{which.name}",
            "type": "search",
            "version": PANEL_VERSION,
        }
        for row, which in enumerate(SEARCHES)
    ]
    options = {"hidePanelTitles": False, "syncColors": False, "useMargins": True}
    source = {"filter": [], "query": {"language": "kuery", "query": ""}}
    attributes = {
        "description": "What agents logged, what went wrong, and the anchors of the audit trail.",
        "kibanaSavedObjectMeta": {"searchSourceJSON": compact(source)},
        "optionsJSON": compact(options),
        "panelsJSON": compact(panels),
        "refreshInterval": {"pause": True, "value": 60000},
        "timeFrom": "now-24h",
        "timeRestore": True,
        "timeTo": "now",
        "title": "Agents",
        "version": 1,
    }
    references = [
        {"id": which.name, "name": f"{which.name}:panel_{which.name}", "type": "search"}
        for which in SEARCHES
    ]
    return saved("dashboard", "kaizen-otel-agents", attributes, references)


def document() -> str:
    """All objects, what is referred to first."""
    objects = [data_view(), *map(search, SEARCHES), dashboard()]
    return "".join(f"{compact(each)}\n" for each in objects)


def main(arguments: list[str]) -> int:
    """Write the file or judge it."""
    if "--check" in arguments:
        if FILE.read_text(encoding="utf-8") == document():
            return 0
        print("saved-objects.ndjson is not what the source says: run python .ci/kibana.py")
        return 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(document(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
