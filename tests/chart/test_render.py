"""Every Helm renders the same, every Kubernetes takes it, and it is what was agreed on."""

from __future__ import annotations

import pytest
import yaml

from tests.chart.kit import golden, kubernetes
from tests.chart.kit.rendering import CHART, NAMESPACE, RELEASE, Manifest
from tests.chart.kit.variants import Charts, Variant, variant, variants

from .conftest import Helm

NAMES = [one.name for one in variants()]


def by_title(objects: list[Manifest]) -> dict[str, Manifest]:
    return {f"{item['kind']} {item['metadata']['name']}": item for item in objects}


def by_program(helm: Helm, one: Variant) -> list[Manifest]:
    """What a Helm program renders, told of every API that the variant has."""
    apis = [
        "monitoring.coreos.com/v1",
        *(f"monitoring.coreos.com/v1/{kind}" for kind in ("PodMonitor", "ServiceMonitor")),
        "monitoring.coreos.com/v1/PrometheusRule",
        *("cert-manager.io/v1", "cert-manager.io/v1/Certificate"),
    ]
    flags = [f"--api-versions={','.join(apis)}"] if one.has_apis else []
    done = helm.run(
        *("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-", *flags),
        stdin=yaml.safe_dump(one.values),
    )
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if item]


@pytest.mark.parametrize("name", [one.name for one in variants() if not one.cluster])
def test_both_majors_of_helm_render_the_objects_that_the_other_tests_judge(
    charts: Charts, helm: Helm, name: str
) -> None:
    one = variant(name)
    found = by_title(by_program(helm, one))
    assert golden.differences(found, by_title(charts.release(one).objects)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_objects_are_those_of_the_committed_render(charts: Charts, name: str) -> None:
    found = golden.normal(charts.release(variant(name)))
    if golden.is_update():
        golden.write(name, found)
    assert golden.differences(found, golden.read(name)) == [], (
        f"if this is meant: {golden.UPDATE}=1 .venv/bin/pytest tests/chart/test_render.py"
    )


def test_every_committed_render_belongs_to_a_variant() -> None:
    assert sorted(path.stem for path in golden.FOLDER.glob("*.yaml")) == sorted(NAMES)


def test_a_golden_comparison_sees_a_changed_a_missing_and_a_new_field(charts: Charts) -> None:
    found = golden.normal(charts.release(variant("dev")))
    title = next(iter(found))
    for label in ("changed", "gone", "new"):
        other = yaml.safe_load(yaml.safe_dump(found))
        metadata = other[title]["metadata"]
        if label == "changed":
            metadata["namespace"] = "other"
        elif label == "gone":
            del metadata["namespace"]
        else:
            metadata["annotations"] = {"a": "b"}
        assert len(golden.differences(other, found)) == 1, label


@pytest.mark.parametrize("version", kubernetes.VERSIONS)
def test_every_object_is_valid_for_every_supported_kubernetes(charts: Charts, version: str) -> None:
    problems = {
        problem
        for one in variants()
        for item in charts.release(one).objects
        if (problem := kubernetes.problem(item, version))
    }
    assert problems == set()


def test_a_field_that_kubernetes_does_not_know_is_a_problem(charts: Charts) -> None:
    """The strict schemas refuse what the API server would drop without a word."""
    for item in charts.release(variant("dev")).objects:
        assert kubernetes.problem({**item, "sepc": {}})


def test_the_custom_kinds_have_schemas_and_no_built_in_one_has() -> None:
    built_in = {"apiVersion": "v1", "kind": "Service"}
    custom = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor"}
    assert kubernetes.is_custom(custom)
    assert not kubernetes.is_custom(built_in)
    assert kubernetes.problem({**custom, "metadata": {}, "spec": {}})
    assert kubernetes.problem({"apiVersion": "nobody.example/v1", "kind": "Unheard"})
