"""The page of variables is complete, its defaults are real, and a bad value is named."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
from opentelemetry import environment_variables as api
from opentelemetry.sdk import environment_variables as sdk

from kaizen_otel import _variables
from kaizen_otel.config import Config, content_capture
from kaizen_otel.traces import Sampler

ROOT = Path(__file__).parents[2]
READ = {one.name: one for one in _variables.read()}
HOME = {"HOME": "/home/me"}


class Asked(dict[str, str]):
    """An environment that remembers which variables were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, key: str, default: object = None) -> str:
        self.names.add(key)
        return str(default)


def test_the_page_is_what_the_table_says() -> None:
    spec = importlib.util.spec_from_file_location("page", ROOT / ".ci" / "configuration.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    committed = module.PAGE.read_text(encoding="utf-8")
    assert committed == module.document(), "run: .venv/bin/python .ci/configuration.py"


def test_the_table_holds_exactly_the_variables_that_are_read() -> None:
    asked = Asked()
    Config.from_environment(asked)
    content_capture(asked)
    assert asked.names == set(READ)


def test_each_variable_of_ours_in_the_sources_is_in_the_table() -> None:
    text = "".join(path.read_text() for path in (ROOT / "kaizen_otel").rglob("*.py"))
    found = set(re.findall(r"KAIZEN_OTEL_[A-Z_]*[A-Z]\b(?!_)", text))
    assert found <= set(READ) | set(_variables.TOOLS)


def test_each_variable_of_the_stock_sdk_is_read_or_said_not_to_be() -> None:
    stock = {
        value
        for module in (api, sdk)
        for value in vars(module).values()
        if isinstance(value, str)
        and re.fullmatch(r"OTEL_[A-Z_]+", value)
        and not value.startswith("OTEL_PYTHON_EXPORTER_OTLP_")
    }
    others = {name for names in _variables.ELSEWHERE for name in names.split(", ")}
    assert stock <= set(READ) | set(_variables.NOT_READ) | others
    assert not set(READ) & set(_variables.NOT_READ)


@pytest.mark.parametrize("name", sorted(n for n, one in READ.items() if one.is_literal))
def test_a_default_is_what_is_used_without_the_variable(name: str) -> None:
    assert Config.from_environment({**HOME, name: READ[name].default}) == Config.from_environment(
        HOME
    )


@pytest.mark.parametrize("name", sorted(n for n, one in READ.items() if one.bad is not None))
def test_a_value_that_cannot_be_used_is_named_and_the_default_is_used(name: str) -> None:
    bad = READ[name].bad
    assert bad is not None
    found = Config.from_environment({**HOME, name: bad})
    warned: list[str] = []
    if name == "OTEL_TRACES_SAMPLER":  # which samplers there are is known there
        Sampler(found.sampler, warn=warned.append)
        found = dataclasses.replace(found, sampler=Config.from_environment(HOME).sampler)
    warned += found.warnings
    assert len(warned) == 1
    assert name in warned[0]
    assert dataclasses.replace(found, warnings=()) == Config.from_environment(HOME)


def test_a_bad_header_is_named_without_its_value() -> None:
    found = Config.from_environment({"OTEL_EXPORTER_OTLP_HEADERS": "authorization secret"})
    assert "OTEL_EXPORTER_OTLP_HEADERS" in found.warnings[0]
    assert "secret" not in found.warnings[0]


def test_what_is_set_without_effect_and_what_is_misspelt_is_said() -> None:
    said = list(
        _variables.without_effect(
            {
                "OTEL_BSP_MAX_QUEUE_SIZE": "5",
                "KAIZEN_OTEL_SPOOLDIR": "/x",
                "OTEL_EXPORTER_OTLP_TRACE_ENDPOINT": "http://x",
                "KAIZEN_OTEL_DURABILITY": "none",
                "OTEL_PYTHON_CONTEXT": "contextvars_context",
                "OTEL_CONFIG_FILE": " ",
            }
        )
    )
    assert len(said) == 3
    assert "did you mean KAIZEN_OTEL_SPOOL_DIR?" in said[0]
    assert "OTEL_BSP_MAX_QUEUE_SIZE is not read" in said[1]
    assert "did you mean OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?" in said[2]
