"""Load what the pinned version of the Collector knows: component types and their settings.

``component_facts.json`` is made by ``tests/collector/component_facts.py`` from the components'
own types; a test says when it is out of date.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from kaizen_otel._collector.config_model import KINDS
from kaizen_otel._collector.rules import ComponentFacts


@cache
def load_facts() -> ComponentFacts:
    """The facts that travel with the package."""
    file = resources.files("kaizen_otel._collector").joinpath("component_facts.json")
    return parse_facts(json.loads(file.read_text(encoding="utf-8")))


def parse_facts(data: dict[str, Any]) -> ComponentFacts:
    """The facts in the form of the file."""
    return ComponentFacts(
        version=data["version"],
        keys={
            (kind, name): component["keys"]
            for kind in KINDS
            for name, component in data[kind].items()
        },
        aliases={
            (kind, component["was"]): name
            for kind in KINDS
            for name, component in data[kind].items()
            if "was" in component
        },
        service=data["service"],
        contrib={kind: frozenset(names) for kind, names in data["contrib"].items()},
    )
