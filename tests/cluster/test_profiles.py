"""The real API server takes every object of every profile."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.cluster.room import CHART, RELEASE, Room

PROFILES = sorted(path.stem for path in (CHART / "profiles").glob("*.yaml"))
#: Of operators that the cluster does not have.
FOREIGN = ("cert-manager.io/", "monitoring.coreos.com/")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_api_server_takes_every_object(room: Room, profile: str) -> None:
    """Defaulting, validation and Pod Security, which no schema tool has."""
    command = [room.helm, "template", RELEASE, str(CHART), "--namespace", room.name]
    command += ["--values", str(CHART / "profiles" / f"{profile}.yaml")]
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
