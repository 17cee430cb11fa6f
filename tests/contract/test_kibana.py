"""Kibana's saved objects: every reference resolves, every field exists.  No Kibana ran here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kaizen_otel._stack.templates import DATA_STREAM
from kaizen_otel.audit.record import OWN_EVENTS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "collector" / "kibana" / "saved-objects.ndjson"
TEMPLATES = ROOT / "collector" / "elasticsearch"

Objects = list[dict[str, Any]]


def objects() -> Objects:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def named(references: Objects) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["type"], each["id"]) for each in references}


def unresolved(found: Objects) -> list[str]:
    """References to what the file does not hold, and names that no reference explains."""
    known = {(each["type"], each["id"]) for each in found}
    wrong = []
    for each in found:
        references = named(each["references"])
        wrong += [name for name, target in references.items() if target not in known]
        attributes = each["attributes"]
        if each["type"] == "search":
            source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
            wrong += [source["indexRefName"]] if source["indexRefName"] not in references else []
        if each["type"] == "dashboard":
            for panel in json.loads(attributes["panelsJSON"]):
                name = f"{panel['panelIndex']}:{panel['panelRefName']}"
                if references.get(name, ("",))[0] != panel["type"]:
                    wrong.append(name)
    return wrong


def leaves(properties: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Field -> type of a mapping."""
    found: dict[str, str] = {}
    for name, mapping in properties.items():
        if "properties" in mapping:
            found |= leaves(mapping["properties"], f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = mapping.get("type", "object")
    return found


def asked_fields(found: Objects) -> set[str]:
    """Every field that a column, a question, an order or a format names."""
    fields: set[str] = set()
    for each in found:
        attributes = each["attributes"]
        if each["type"] == "index-pattern":
            fields |= {attributes["timeFieldName"], *json.loads(attributes["fieldFormatMap"])}
        if each["type"] == "search":
            fields |= {*attributes["columns"], *(name for name, _ in attributes["sort"])}
            source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
            fields |= set(re.findall(r"([\w.@]+)\s*(?:>=|:)", source["query"]["query"]))
    return fields


def test_the_committed_file_is_what_the_source_says() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "kibana.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_reference_resolves() -> None:
    assert unresolved(objects()) == []
    assert {each["type"] for each in objects()} == {"index-pattern", "search", "dashboard"}


@pytest.mark.parametrize("without", range(4))
def test_an_object_that_is_missing_would_be_noticed(without: int) -> None:
    found = objects()
    del found[without]
    assert unresolved(found) != []


@pytest.mark.parametrize("template", ["index-template.json", "elasticsearch/index-template.json"])
def test_every_field_is_in_the_index_template(template: str) -> None:
    mapping = json.loads((TEMPLATES / template).read_text())["template"]["mappings"]
    known = leaves(mapping["properties"])
    asked = asked_fields(objects())
    assert {"trace_id", "severity_number", "event_name", "@timestamp"} <= asked
    assert asked <= set(known), asked - set(known)


def test_the_data_view_covers_the_data_stream_that_the_gateway_writes() -> None:
    (view,) = (each for each in objects() if each["type"] == "index-pattern")
    pattern = view["attributes"]["title"]
    assert re.fullmatch(pattern.replace(".", r"\.").replace("*", ".*"), DATA_STREAM)
    for template in TEMPLATES.rglob("index-template.json"):
        assert json.loads(template.read_text())["index_patterns"] == [pattern]


def test_a_trace_id_leads_to_jaeger_and_the_stack_moves_the_link_with_its_port() -> None:
    (view,) = (each for each in objects() if each["type"] == "index-pattern")
    link = json.loads(view["attributes"]["fieldFormatMap"])["trace_id"]["params"]["urlTemplate"]
    assert link == "http://localhost:16686/trace/{{value}}"
    script = (ROOT / "collector" / "compose" / "setup" / "kibana.sh").read_text()
    assert "s|http://localhost:16686|$JAEGER_URL|g" in script


def test_the_checkpoints_are_asked_for_by_every_name_that_they_have() -> None:
    (search,) = (each for each in objects() if each["id"] == "kaizen-otel-audit-checkpoints")
    source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    assert set(re.findall(r'"([^"]+)"', source["query"]["query"])) == OWN_EVENTS
