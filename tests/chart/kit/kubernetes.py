"""Objects against the schemas of every Kubernetes version that the chart supports, strictly.

The schemas are those of kubernetes-validate, read once each; kinds that are no part of Kubernetes
(``crds.yaml``) have small ones of ours.  A verdict is kept for each distinct object.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

from tests.chart.kit.rendering import Manifest

VERSIONS: Final = tuple(f"1.{minor}" for minor in range(30, 38))
#: For what need not be judged by all of them: the one that the real cluster of the tests runs.
VERSION_USUAL: Final = "1.34"

_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
_CRDS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("crds.yaml").read_text())


def is_custom(item: Manifest) -> bool:
    """True for a kind that a CustomResourceDefinition brings."""
    return f"{item['apiVersion']}/{item['kind']}" in _CRDS


@functools.cache
def _registry(version: str) -> Registry[Any]:
    definitions = json.loads((_folder(version) / "_definitions.json").read_text())
    return Resource.from_contents(definitions) @ Registry()


def _folder(version: str) -> Path:
    return next(iter(_SCHEMAS.glob(f"v{version}.*-local-strict")))


@functools.cache
def _validator(api_version: str, kind: str, version: str) -> jsonschema.Draft202012Validator:
    if schema := _CRDS.get(f"{api_version}/{kind}"):
        return jsonschema.Draft202012Validator(schema)
    short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    path = _folder(version) / f"{kind.lower()}-{short}.json"
    if not path.is_file():
        known = False  # a schema that takes nothing
        return jsonschema.Draft202012Validator(known)
    schema = json.loads(path.read_text())
    registry = Resource.from_contents(schema) @ _registry(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


@functools.cache
def _verdict(text: str, version: str) -> str:
    item = json.loads(text)
    validator = _validator(item["apiVersion"], item["kind"], version)
    error = jsonschema.exceptions.best_match(validator.iter_errors(item))
    if error is None:
        return ""
    name = item.get("metadata", {}).get("name")
    return f"{item['kind']} {name}, Kubernetes {version}: {error.json_path}: {error.message[:300]}"


def problem(item: Manifest, version: str = VERSION_USUAL) -> str:
    """What a version of Kubernetes has against an object; empty if nothing."""
    return _verdict(json.dumps(item, sort_keys=True), "" if is_custom(item) else version)
