"""The real API server takes every object of every profile."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.chart.kit.rendering import pod_template
from tests.cluster.kit.client import Object
from tests.cluster.room import CHART, RELEASE, ROOT, Room

PROFILES = sorted(path.stem for path in (CHART / "profiles").glob("*.yaml"))
#: Of operators that the cluster does not have.
FOREIGN = ("cert-manager.io/", "monitoring.coreos.com/")


@pytest.mark.parametrize("profile", [*PROFILES, "dev with its demo"])
def test_the_api_server_takes_every_object(room: Room, profile: str) -> None:
    """Defaulting, validation and Pod Security, which no schema tool has."""
    command = [room.helm, "template", RELEASE, str(CHART), "--namespace", room.name]
    command += ["--values", str(CHART / "profiles" / f"{profile.partition(' ')[0]}.yaml")]
    command += ["--set", "demo.enabled=true"] if profile.endswith("demo") else []
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    objects = [each for each in yaml.load_all(rendered, Loader=yaml.CSafeLoader) if each]
    for each in objects:
        if each["kind"] == "ServiceAccount":  # pods are not admitted without theirs
            room.api.apply(each, room.name)
    applied = [
        room.api.apply(each, room.name, dry_run=True)
        for each in objects
        if not each["apiVersion"].startswith(FOREIGN)
    ]
    assert len(applied) > 10
    pods = [pod["spec"] for each in objects if (pod := pod_template(each))]
    assert len(pods) > 2
    for spec in pods:  # a Deployment's would only be warned about
        room.api.apply(as_pod(spec), room.name, dry_run=True)


def as_pod(spec: Object) -> Object:
    """The pod of a Deployment or StatefulSet, whose claims are replaced by folders."""
    volumes = spec.setdefault("volumes", [])
    known = {volume["name"] for volume in volumes}
    mounted = {mount["name"] for each in spec["containers"] for mount in each["volumeMounts"]}
    volumes += [{"name": name, "emptyDir": {}} for name in sorted(mounted - known)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"}, "spec": spec}


@pytest.mark.parametrize("name", ["deployment", "statefulset", "sidecar"])
def test_the_api_server_takes_the_examples_under_its_strictest_level(room: Room, name: str) -> None:
    """The pod of each as a pod, too."""
    text = (ROOT / "examples" / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8")
    for each in yaml.safe_load_all(text):
        room.api.apply(each, room.name, dry_run=True)
        if "template" in each["spec"]:
            room.api.apply(as_pod(each["spec"]["template"]["spec"]), room.name, dry_run=True)
