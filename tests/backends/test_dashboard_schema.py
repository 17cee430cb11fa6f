"""Dashboards have the shape that Grafana's own types describe.

The types are those of ``@grafana/schema``; a JSON Schema is made of them once and then cached.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator

from kaizen_otel._stack.build import build_once, digest_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "collector" / "dashboards").glob("*.json"))
PACKAGES = ("@grafana/schema@13.2.3", "ts-json-schema-generator@2.9.0", "typescript@5.9.3")
TYPES = "@grafana/schema/dist/types/raw/dashboard/x/types.gen"
SOURCE = f"""\
import type {{ Dashboard }} from './node_modules/{TYPES}';
export type Shape = Dashboard;
"""
OPTIONS = {"compilerOptions": {"skipLibCheck": True, "module": "esnext",
                               "moduleResolution": "bundler", "target": "es2022"}}  # fmt: skip


def make(folder: Path) -> None:
    """Install the types, and turn them into a schema."""
    (folder / "shape.ts").write_text(SOURCE)
    (folder / "tsconfig.json").write_text(json.dumps(OPTIONS))
    quiet = ["--no-audit", "--no-fund", "--silent", "--ignore-scripts"]
    generate = ["npx", "--no-install", "ts-json-schema-generator", "--path", "shape.ts"]
    generate += ["--tsconfig", "tsconfig.json", "--type", "Shape", "--no-type-check"]
    for command in (["npm", "install", *quiet, *PACKAGES], [*generate, "--additional-properties"]):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    (folder / "schema.json").write_text(done.stdout)
    shutil.rmtree(folder / "node_modules")


@pytest.fixture(scope="module")
def validator() -> Validator:
    if shutil.which("npm") is None or os.name != "posix":
        pytest.skip("platform: npm is not installed, with which Grafana's types are obtained")
    folder = build_once("grafana-schema", digest_of([Path(__file__)]), make)
    return Draft7Validator(json.loads((folder / "schema.json").read_text()))


def faults(validator: Validator, dashboard: Any) -> list[str]:  # noqa: ANN401 - any JSON
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(dashboard)]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
@pytest.mark.timeout(400)
def test_a_dashboard_has_the_shape_of_grafanas_types(validator: Validator, path: Path) -> None:
    assert faults(validator, json.loads(path.read_text())) == []


@pytest.mark.timeout(400)
def test_a_wrong_shape_is_found(validator: Validator) -> None:
    """The saboteur: what Grafana would not show."""
    good = json.loads(DASHBOARDS[0].read_text())
    panel = next(each for each in good["panels"] if each["type"] != "row")
    wrong: list[dict[str, Any]] = [{"title": 7}, {"gridPos": "left"}, {"targets": {}}]
    for change in wrong:
        broken = {**good, "panels": [{**panel, **change}]}
        assert faults(validator, broken), change
