"""Finds the parts of a release: tiers, their pods, configurations and files."""

from __future__ import annotations

import re

from tests.chart.kit.rendering import COMPONENT, Manifest, Release

TIERS = ("gateway", "agent", "audit")


def workload(release: Release, tier: str) -> Manifest:
    """The object that makes the pods of a tier."""
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    found = [
        item
        for kind in kinds
        for item in release.of_kind(kind)
        if item["metadata"]["labels"][COMPONENT] == tier
    ]
    assert len(found) == 1, tier
    return found[0]


def collector(release: Release, tier: str) -> Manifest:
    container: Manifest = workload(release, tier)["spec"]["template"]["spec"]["containers"][0]
    return container


def variables(container: Manifest) -> dict[str, str | None]:
    """Name -> value, None for one from a Secret."""
    return {one["name"]: one.get("value") for one in container["env"]}


def tiers_of(release: Release) -> list[str]:
    there = {item["metadata"]["labels"][COMPONENT] for item in release.objects}
    return [tier for tier in TIERS if tier in there]


def named(release: Release, kind: str, name: str) -> Manifest:
    return next(item for item in release.of_kind(kind) if item["metadata"]["name"] == name)


def mounted_files(container: Manifest, pod: Manifest) -> set[str]:
    """Every file that the container finds below its mounts of ConfigMaps and Secrets."""
    volumes = {one["name"]: one for one in pod["volumes"]}
    found = set()
    for mount in container["volumeMounts"]:
        secret = volumes.get(mount["name"], {}).get("secret")
        for item in (secret or {}).get("items", []):
            found.add(f"{mount['mountPath']}/{item['path']}")
    return found


def files_read(container: Manifest, texts: list[str]) -> set[str]:
    """Every file below /etc/kaizen-otel that the configuration names, as its variables say."""
    known = variables(container)
    found = set()
    for text in texts:
        for name, default in re.findall(r"\$\{env:(\w+):?-?([^}]*)\}", text):
            found.add(known.get(name) or default)
        plain = re.sub(r"\$\{env:[^}]*\}", "", text)
        found |= set(re.findall(r"/etc/kaizen-otel/[\w./-]+", plain))
    return {path for path in found if path.startswith("/etc/kaizen-otel/")}


def config_name(release: Release, tier: str) -> str:
    pod = workload(release, tier)["spec"]["template"]["spec"]
    return str(next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one))


def agent_environment(release: Release) -> dict[str, str]:
    found: dict[str, str] = next(
        item["data"]
        for item in release.of_kind("ConfigMap")
        if item["metadata"]["name"].endswith("-agent-env")
    )
    return found


def signals_test(release: Release) -> Manifest:
    """The Job of `helm test`."""
    return next(
        one for one in release.of_kind("Job") if one["metadata"]["name"].endswith("-test-signals")
    )
