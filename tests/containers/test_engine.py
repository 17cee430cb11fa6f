"""The private Docker engine for machines that have none."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from kaizen_otel._stack import images
from kaizen_otel._stack.engine import PRIVATE_HOST, docker_engine, reachable
from tests.containers.conftest import forwarding


@pytest.fixture
def private_engine(engine: str) -> str:
    if engine != PRIVATE_HOST:
        pytest.skip("this machine has a Docker engine of its own, so no private one is started")
    return engine


def test_it_lives_until_its_last_user_is_done(private_engine: str) -> None:
    with docker_engine() as second:
        assert second == private_engine
    assert reachable(private_engine)


def test_it_changes_neither_forwarding_nor_the_firewall(
    private_engine: str, forwarding_before: str
) -> None:
    assert forwarding() == forwarding_before
    if shutil.which("iptables"):
        rules = subprocess.run(
            ["iptables", "-S"], capture_output=True, text=True, check=True
        ).stdout
        assert "DOCKER" not in rules


@pytest.mark.parametrize(
    "host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9", "tcp://127.0.0.1", "npipe://x"]
)
def test_an_address_without_an_engine_is_not_reachable(host: str) -> None:
    assert not reachable(host)


def test_a_new_local_image_replaces_the_older_one_of_its_name(
    private_engine: str,
) -> None:
    def tags() -> list[str]:
        _, answer = images.call_engine(private_engine, "GET", "/images/json")
        found = [tag for image in json.loads(answer) for tag in image["RepoTags"] or ()]
        return [tag for tag in found if tag.startswith(f"{images.REPOSITORY}/kept-once:")]

    made = []
    for content in (b"1", b"2", b"2"):
        spec = images.ImageSpec(
            name="kept-once", files={"file": content}, folders=("data",), entrypoint=("/file",)
        )
        made.append(images.put_image(spec, host=private_engine, progress=lambda _: None))
    assert made[0] != made[1] == made[2]
    assert tags() == [made[2]]
    images.call_engine(private_engine, "DELETE", f"/images/{made[2]}")
