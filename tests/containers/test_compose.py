"""``kaizen-otel stack`` with Docker Compose, as a user runs it: the shipped compose.yaml.

With the private engine the images are our own under the official names; in the place of Grafana and
Kibana, which cannot be had so, stands something that only answers.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel._stack.compose_layout import COMPONENTS, PORT_VARIABLES
from kaizen_otel._stack.images import call_engine
from kaizen_otel.testing.backends import query_prometheus, search_logs, wait_until
from tests.backends.otlp_probe import Probe
from tests.containers import official
from tests.containers.conftest import compose_program

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTHY_S = 60
COMMAND = [sys.executable, "-c", "from kaizen_otel._cli import main; main()", "stack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The command with a state folder and a Compose project of its own."""

    host: str
    home: Path
    project: str
    override: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{compose_program().parent}{os.pathsep}{os.environ['PATH']}",
            "DOCKER_HOST": self.host,
            "XDG_STATE_HOME": str(self.home),
            "COMPOSE_PROJECT_NAME": self.project,
        }

    def run(
        self, *arguments: str, code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )
        assert done.returncode == code, done.stderr
        return done

    def up(self, *components: str, code: int = 0, files: tuple[Path, ...] = ()) -> dict[str, Any]:
        """Start on free ports; the JSON of the answer."""
        named = [word for each in components for word in ("--component", each)]
        own = [word for file in (self.override, *files) for word in ("--file", str(file))]
        done = self.run(
            *("up", "--engine", "compose", "--free-ports", "--json"), *named, *own, code=code
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def left(self, kind: str) -> list[str]:
        """Names of this project's containers, networks or volumes in the engine."""
        path, name = {
            "containers": ("containers/json?all=1&", "Names"),
            "networks": ("networks?", "Name"),
            "volumes": ("volumes?", "Name"),
        }[kind]
        label = f"com.docker.compose.project={self.project}"
        query = urllib.parse.urlencode({"filters": json.dumps({"label": [label]})})
        status, answer = call_engine(self.host, "GET", f"/{path}{query}")
        assert status == 200, answer
        found = json.loads(answer)
        items = found["Volumes"] or [] if kind == "volumes" else found
        return [str(item[name]) for item in items]


def deadline_s() -> int:
    """The promised time, and longer on a machine that is asked for more than it can do now."""
    overload = os.getloadavg()[0] / (os.cpu_count() or 1)
    return round(HEALTHY_S * max(1.0, overload))


@pytest.fixture(scope="module")
def override(official_images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with what our images are too old for."""
    return official.override(tmp_path_factory.mktemp("override"))


@pytest.fixture
def runner(engine: str, override: Path, tmp_path: Path) -> Runner:
    project = f"kaizen-test-{os.getpid()}"
    return Runner(host=engine, home=tmp_path, project=project, override=override)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The stack that the tests of the matrix share, and one run of the probe through it."""

    runner: Runner
    facts: dict[str, Any]
    probe: Probe

    @property
    def urls(self) -> dict[str, str]:
        found: dict[str, str] = self.facts["urls"]
        return found


@pytest.fixture(scope="module")
def started(
    engine: str, override: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    """Up in time, as the product's own deadline has it; after it nothing is left."""
    runner = Runner(
        host=engine,
        home=tmp_path_factory.mktemp("stack"),
        project=f"kaizen-matrix-{os.getpid()}",
        override=override,
    )
    try:
        done = runner.run(
            *("up", "--engine", "compose", "--free-ports", "--json"),
            *("--deadline", str(deadline_s()), "--file", str(override)),
        )
        sys.stdout.write(done.stderr)  # says how long it took
        facts = json.loads(done.stdout)
        probe = Probe()
        probe.send_telemetry(facts["urls"]["otlp_http"])
        probe.send_audit(facts["urls"]["audit"], f"intent {probe.trace_id}")
        yield Started(runner=runner, facts=facts, probe=probe)
    finally:
        trail = runner.home / "kaizen-otel" / "stack" / "collector" / "audit" / "audit.jsonl"
        runner.run("down", "--volumes")
        for kind in ("containers", "networks", "volumes"):
            assert runner.left(kind) == []
        assert trail.stat().st_size > 0, "the trail outlives even --volumes"


def test_traces_arrive_in_jaeger(started: Started) -> None:
    probe = started.probe
    assert probe.wait_for_trace(started.urls["jaeger"]) == {
        probe.root_id: "",
        probe.child_id: probe.root_id,
    }


def test_metrics_arrive_in_prometheus(started: Started) -> None:
    assert started.probe.wait_for_counter(started.urls["prometheus"]) == "7"


def test_logs_arrive_in_the_store_under_the_shipped_template(started: Started) -> None:
    document = started.probe.wait_for_log(started.urls["elasticsearch"])
    assert document["trace_id"] == started.probe.trace_id
    assert document["attributes"]["gen_ai.tool.name"] == "search"


def test_audit_records_are_in_the_file_on_this_machine_and_in_no_backend(started: Started) -> None:
    trail = Path(started.facts["audit_directory"]) / "audit.jsonl"
    text = f"intent {started.probe.trace_id}"
    assert text in trail.read_text(encoding="utf-8")
    assert search_logs(text, url=started.urls["elasticsearch"]) == []


def test_prometheus_has_the_alerts_and_asks_the_collector_how_it_is(started: Started) -> None:
    query = 'up{job="kaizen-otel-collector"} == 1'
    assert wait_until(lambda: query_prometheus(query, url=started.urls["prometheus"]), 60)
    query = "otelcol_receiver_accepted_spans > 0"
    assert wait_until(lambda: query_prometheus(query, url=started.urls["prometheus"]), 60)


def test_status_names_each_part_and_up_again_changes_nothing(started: Started) -> None:
    before = started.runner.left("containers")
    again = started.runner.run(
        *("up", "--engine", "compose", "--json", "--file", str(started.runner.override)),
        *(
            word
            for name, number in _ports(started).items()
            for word in ("--port", f"{name}={number}")
        ),
    )
    assert json.loads(again.stdout)["components"] == started.facts["components"]
    assert sorted(started.runner.left("containers")) == sorted(before)
    states = {each["component"]: each["state"] for each in started.facts["components"]}
    assert states == dict.fromkeys(COMPONENTS, "ready")
    assert set(started.urls) == {*COMPONENTS, "otlp_grpc", "otlp_http", "audit"} - {"collector"}
    assert "Server is ready" in started.runner.run("logs", "--component", "prometheus").stdout


def test_other_settings_are_refused_while_it_runs(started: Started) -> None:
    done = started.runner.run("up", "--engine", "compose", "--free-ports", code=2)
    assert "runs already, with other settings" in done.stderr


def test_containers_have_no_privileges_no_open_port_and_a_limit(started: Started) -> None:
    _, answer = call_engine(started.runner.host, "GET", "/containers/json?all=1")
    seen = set()
    for item in json.loads(answer):
        if item["Labels"].get("com.docker.compose.project") != started.runner.project:
            continue
        service = item["Labels"]["com.docker.compose.service"]
        _, text = call_engine(started.runner.host, "GET", f"/containers/{item['Id']}/json")
        facts = json.loads(text)
        host = facts["HostConfig"]
        seen.add(service)
        assert host["CapDrop"] == ["ALL"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert host["Memory"] > 0, service
        assert host["PidsLimit"] > 0, service
        assert host["ReadonlyRootfs"] or service in {"elasticsearch", "kibana"}
        assert facts["Config"]["User"].partition(":")[0] != "0" or service == "prepare"
        bound = [
            each for ports in facts["NetworkSettings"]["Ports"].values() for each in ports or ()
        ]
        assert {each["HostIp"] for each in bound} <= {"127.0.0.1"}, service
    assert seen == set(official.services())


def _ports(started: Started) -> dict[str, str]:
    text = (started.runner.home / "kaizen-otel" / "stack" / "compose.json").read_text()
    variables = json.loads(text)["variables"]
    return {name: variables[variable] for name, variable in PORT_VARIABLES.items()}


# ------------------------------------------------------------------------- one part, refusals


def test_down_leaves_nothing_and_keeps_what_was_stored_until_told(runner: Runner) -> None:
    runner.up("prometheus")
    assert len(runner.left("containers")) == 1
    assert runner.run("down", "--json").stdout.strip() == '{"ended": ["prometheus"]}'
    assert (runner.left("containers"), runner.left("networks")) == ([], [])
    assert runner.left("volumes") == [f"{runner.project}_prometheus"]
    assert runner.run("down").stdout.strip() == "ended: none"
    runner.run("down", "--engine", "compose", "--volumes")
    assert runner.left("volumes") == []


def test_a_part_that_ends_is_named_with_its_output_and_everything_is_ended(
    runner: Runner, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("services: {prometheus: {command: [--no-such-option]}}\n", encoding="utf-8")
    answer = runner.up("prometheus", code=4, files=(broken,))
    # It is started again a few times, so that it may be found running.
    assert re.match(
        "prometheus was started and (ended by itself|is not healthy)", answer["message"]
    )
    assert "no-such-option" in answer["message"]
    assert (runner.left("containers"), runner.left("networks")) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_nothing(
    runner: Runner, tmp_path: Path, number: signal.Signals
) -> None:
    never = tmp_path / "never.yaml"
    never.write_text(
        "services: {prometheus: {healthcheck: {test: [CMD, wget, 'http://127.0.0.1:9']}}}\n",
        encoding="utf-8",
    )
    arguments = ["up", "--engine", "compose", "--free-ports", "--component", "prometheus"]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--file", str(runner.override), "--file", str(never)],
        env=runner.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        wait_until(lambda: runner.left("containers"), 60)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(60) == 130, said
    assert "ending what was started" in said
    for kind in ("containers", "networks"):
        assert runner.left(kind) == []
    runner.run("down", "--engine", "compose", "--volumes")


def test_a_taken_port_is_named_with_the_setting_that_moves_it(runner: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        done = runner.run(
            *("up", "--engine", "compose", "--component", "prometheus"),
            *("--port", f"prometheus={number}"),
            code=4,
        )
    assert f"port {number} (prometheus)" in done.stderr
    assert "--port prometheus=NUMBER" in done.stderr
    assert runner.left("containers") == []


def test_an_image_that_cannot_be_fetched_is_named_with_the_ways_out(
    runner: Runner, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere.yaml"
    image = "127.0.0.1:9/nobody/has-this:1"
    nowhere.write_text(f"services: {{prometheus: {{image: '{image}'}}}}\n", encoding="utf-8")
    message = runner.up("prometheus", code=4, files=(nowhere,))["message"]
    assert image in message
    assert "docker load" in message
    assert "--engine native" in message
    assert runner.left("containers") == []


def test_an_engine_without_compose_is_told_apart(runner: Runner, tmp_path: Path) -> None:
    done = runner.run("up", "--engine", "compose", code=4, PATH=str(tmp_path))
    assert "Docker Compose 2.25 or later is missing" in done.stderr
    assert "--engine native" in done.stderr
