"""The Compose files as Compose reads them, and what is said where there is no engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaizen_otel._stack import NativeStack, StackPorts, ToolMissingError, compose_state
from kaizen_otel._stack.choose import choose, find_running
from kaizen_otel._stack.compose import ComposeStack
from kaizen_otel._stack.compose_layout import COMPONENTS, PORT_VARIABLES, SERVICES
from kaizen_otel._stack.compose_program import ComposeProgram
from kaizen_otel._stack.compose_state import RunningProject
from kaizen_otel._stack.engine import find_engine
from kaizen_otel.errors import ConfigError, SetupError
from kaizen_otel.testing import containers
from tests.containers.conftest import compose_program

FOLDER = Path(__file__).parents[2] / "collector" / "compose"
START = FOLDER / "start_observability.sh"
COMMAND = [sys.executable, "-c", "from kaizen_otel._cli import main; main()", "stack"]
FILES = {
    "plain": ("compose.yaml",),
    "security": ("compose.yaml", "compose.security.yaml"),
    "oidc": ("compose.yaml", "compose.security.yaml", "compose.oidc.yaml"),
}
#: Prepares something and ends; what needs it waits for that.
ONCE = {"prepare", "store-setup"}

Config = dict[str, Any]


@pytest.fixture(scope="module", params=FILES)
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The merged files of one kind of stack; an error of Compose fails the test."""
    try:
        program = compose_program()
    except ToolMissingError as error:
        pytest.skip(str(error))
    files = [word for name in FILES[request.param] for word in ("--file", str(FOLDER / name))]
    secrets = tmp_path_factory.mktemp("config") / "secrets"
    make = [sys.executable, str(FOLDER / "secrets.example" / "make_secrets.py"), str(secrets)]
    subprocess.run(make, check=True, capture_output=True)
    (secrets / "secrets" / "pages-client.secret").touch()  # from the provider
    done = subprocess.run(
        [str(program), *files, "config", "--format", "json"],
        env={
            "PATH": os.environ["PATH"],
            "KAIZEN_OTEL_SECRETS": str(secrets),
            "KAIZEN_OTEL_OIDC_ISSUER": "https://provider.test",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no variable without a value"
    found: Config = json.loads(done.stdout)
    return found


def test_every_published_port_is_on_loopback_and_the_one_of_the_design(config: Config) -> None:
    published = {
        (port["host_ip"], int(port["published"]))
        for service in config["services"].values()
        for port in service.get("ports", ())
    }
    ports = StackPorts()
    assert published == {("127.0.0.1", getattr(ports, name)) for name in PORT_VARIABLES}


def test_every_mounted_file_exists_and_nothing_of_ours_can_be_written(config: Config) -> None:
    mounts = [
        mount for service in config["services"].values() for mount in service.get("volumes", ())
    ]
    bound = [mount for mount in mounts if mount["type"] == "bind"]
    assert len(bound) >= 8
    for mount in bound:
        assert Path(mount["source"]).exists(), mount
        assert mount["read_only"], mount
    for secret in config.get("secrets", {}).values():
        assert Path(secret["file"]).is_file()


def test_every_service_is_bounded_has_no_privileges_and_a_check(config: Config) -> None:
    for name, service in config["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert service["pids_limit"] > 0, name
        assert service["logging"]["options"]["max-size"], name
        assert service.get("read_only") or name in {"elasticsearch", "kibana"}, name
        assert not service.get("privileged"), name
        if name in ONCE:
            assert service["restart"] == "no"
            assert any(
                other.get("depends_on", {}).get(name, {}).get("condition")
                == "service_completed_successfully"
                for other in config["services"].values()
            ), "else `up --wait` takes its end for a failure"
        elif name == "collector":  # nothing in its image could ask it
            assert (
                "http://collector:13133/"
                in config["services"]["collector-health"]["healthcheck"]["test"]
            )
        else:
            assert service["healthcheck"]["test"], name


def test_only_one_that_prepares_runs_as_root_and_may_change_owners_only(config: Config) -> None:
    roots = [n for n, each in config["services"].items() if str(each.get("user", "")) == "0:0"]
    assert roots == ["prepare"]
    prepare = config["services"]["prepare"]
    assert prepare["cap_add"] == ["CHOWN", "DAC_READ_SEARCH"]
    assert prepare["network_mode"] == "none"


def test_every_image_has_a_version_and_the_versions_are_the_project_s(config: Config) -> None:
    images = {name: each["image"] for name, each in config["services"].items()}
    for image in images.values():
        assert re.search(r":v?\d+\.\d+\.\d+[\w.-]*$", image), image
    assert images["collector"] == containers.COLLECTOR_IMAGE
    assert images["jaeger"] == containers.JAEGER_IMAGE
    assert images["prometheus"] == containers.PROMETHEUS_IMAGE
    assert images["elasticsearch"] == containers.ELASTICSEARCH_IMAGE
    assert images["kibana"].rpartition(":")[2] == images["elasticsearch"].rpartition(":")[2]


def test_the_collector_runs_the_shipped_configs_themselves(config: Config) -> None:
    (mount,) = (
        each
        for each in config["services"]["collector"]["volumes"]
        if each["target"] == "/etc/kaizen-otel/config"
    )
    assert Path(mount["source"]) == FOLDER.parent / "config"
    for word in config["services"]["collector"]["command"]:
        inside = word.removeprefix("--config=/etc/kaizen-otel/config/")
        assert (FOLDER.parent / "config" / inside).is_file()


def test_the_command_line_knows_every_service(config: Config) -> None:
    known = {name for services in SERVICES.values() for name in services}
    assert known | ONCE == set(config["services"]) - {"proxy", "sign-in"}
    assert set(COMPONENTS) <= set(config["services"])


def test_with_the_security_file_no_part_but_proxy_and_collector_is_reached(config: Config) -> None:
    open_to = {name for name, each in config["services"].items() if each.get("ports")}
    if "proxy" in config["services"]:
        assert open_to - {"sign-in"} == {"proxy", "collector"}
        overlays = [Path(word).stem for word in config["services"]["collector"]["command"]]
        assert overlays == ["gateway", "tls", "bearer"]
    else:
        assert open_to == set(COMPONENTS)


def test_jaeger_is_reached_through_one_part_alone_with_the_oidc_file_by_its_sign_in(
    config: Config,
) -> None:
    (name,) = (
        name
        for name, each in config["services"].items()
        for port in each.get("ports", ())
        if port["published"] == "16686"
    )
    if "sign-in" not in config["services"]:
        assert name in {"jaeger", "proxy"}
        return
    assert name == "sign-in"
    assert "sign-in" in config["services"]["proxy"]["depends_on"], "`stack up` starts the proxy"
    told = config["services"]["sign-in"]["environment"]
    shipped = (FOLDER / "oauth2-proxy.cfg").read_text(encoding="utf-8")
    known = {name for name in told if name in shipped or name == "OAUTH2_PROXY_HTTP_ADDRESS"}
    assert known == set(told), "every variable is one that the file explains"
    assert told["OAUTH2_PROXY_UPSTREAMS"] == "http://jaeger:16686"
    assert told["OAUTH2_PROXY_REDIRECT_URL"] == "https://localhost:16686/oauth2/callback"
    assert told["OAUTH2_PROXY_ALLOWED_GROUPS"] == "kaizen-otel"
    assert told["OAUTH2_PROXY_HTTP_ADDRESS"] == "127.0.0.1:8080"


# --------------------------------------------------------------------- without an engine


def refused(*arguments: str, **environment: str) -> str:
    """What `kaizen-otel stack up --engine compose` says; it must end with 4."""
    kept = {name: text for name, text in os.environ.items() if name != "DOCKER_HOST"}
    done = subprocess.run(
        [*COMMAND, "up", "--engine", "compose", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, "one message"
    assert "--engine native" in lines[0]
    return lines[0]


def no_engine() -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("DOCKER_HOST", raising=False)
        if find_engine() is not None:
            pytest.skip("platform: this machine has a Docker engine at a usual place")


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/docker.sock"
    assert f"DOCKER_HOST={host} does not answer" in refused(DOCKER_HOST=host)


def test_docker_that_is_missing_is_said(tmp_path: Path) -> None:
    no_engine()
    assert "Docker is not installed" in refused(PATH=str(tmp_path))


def test_docker_without_its_engine_is_told_apart(tmp_path: Path) -> None:
    no_engine()
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    assert "no engine answers: start it" in refused(PATH=str(tmp_path))


def start(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The start script with nothing on PATH but what it needs and what ``path`` holds."""
    for tool in ("dirname", "cat"):
        (path / tool).symlink_to(str(shutil.which(tool)))
    return subprocess.run(
        ["/bin/sh", str(START), *arguments],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, name: str, text: str) -> None:
    (path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (path / name).chmod(0o755)


def test_the_start_script_is_the_command_where_that_is_installed(tmp_path: Path) -> None:
    program(tmp_path, "kaizen-otel", 'echo "kaizen-otel $*"')
    assert start(tmp_path).stdout == "kaizen-otel stack up\n"


def test_the_start_script_passes_options_on(tmp_path: Path) -> None:
    program(tmp_path, "kaizen-otel", 'echo "kaizen-otel $*"')
    done = start(tmp_path, "down", "--volumes")
    assert done.stdout == "kaizen-otel stack down --volumes\n"


@pytest.mark.parametrize(
    ("docker", "said"),
    [
        (None, "Docker is not installed"),
        ("exit 1", "the Compose plugin of Docker is missing"),
        ('[ "$1" = compose ]', "no Docker engine answers"),
    ],
)
def test_the_start_script_says_what_is_missing(
    tmp_path: Path, docker: str | None, said: str
) -> None:
    if docker is not None:
        program(tmp_path, "docker", docker)
    done = start(tmp_path)
    assert done.returncode == 4
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_start_script_calls_compose_and_shows_the_pages(tmp_path: Path) -> None:
    program(tmp_path, "docker", '[ "$2" = version ] || echo "docker $*" >&2')
    done = start(tmp_path)
    assert done.returncode == 0
    assert f"docker compose --file {FOLDER}/compose.yaml up --detach --wait" in done.stderr
    for number in (16686, 9090, 3000, 9200, 5601, 4317, 4318, 4319):
        assert str(number) in done.stdout


def test_the_start_script_refuses_another_word(tmp_path: Path) -> None:
    assert start(tmp_path, "destroy").returncode == 2


# ---------------------------------------------------------------------------- what is chosen


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Lines of progress, in a state folder of the test's own, where no engine answers."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    return []


def test_without_containers_it_is_processes_and_that_is_said(said: list[str]) -> None:
    chosen = choose("auto", ports=StackPorts(), progress=said.append)
    assert isinstance(chosen, NativeStack)
    (line,) = said
    assert "processes of this machine" in line
    assert "does not answer" in line


def test_what_only_containers_have_is_not_left_out_silently(
    said: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--secrets"):
        choose("native", ports=StackPorts(), secrets=tmp_path, progress=said.append)
    chosen = choose("auto", ports=StackPorts(), secrets=tmp_path, progress=said.append)
    with pytest.raises(SetupError, match="does not answer"):
        chosen.up(["prometheus"])


def noted() -> RunningProject:
    return RunningProject(
        command=("docker-compose",),
        host="unix:///nowhere",
        name="kaizen-otel",
        files=("compose.yaml",),
        variables={"KAIZEN_OTEL_PROMETHEUS_PORT": "9090"},
        components=("prometheus",),
    )


def test_what_was_started_in_containers_is_what_is_asked_and_ended(
    said: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "kaizen-otel" / "stack" / "compose.json"
    compose_state.write(path, noted())
    assert compose_state.read(path) == noted()
    assert isinstance(choose("auto", ports=StackPorts(), progress=said.append), ComposeStack)
    (running,) = find_running("auto", progress=said.append)
    assert isinstance(running, ComposeStack)
    assert running.urls == {"prometheus": "http://127.0.0.1:9090"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 99}', '{"version": 1}'])
def test_a_note_that_is_not_ours_is_named_and_not_believed(
    said: list[str], tmp_path: Path, text: str
) -> None:
    path = tmp_path / "kaizen-otel" / "stack" / "compose.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SetupError, match=r"compose\.json .*docker compose down"):
        ComposeStack(progress=said.append).status()


def test_an_engine_of_another_machine_is_refused(said: list[str]) -> None:
    stack = ComposeStack(progress=said.append)
    program = ComposeProgram(command=("docker-compose",), host="tcp://10.1.2.3:2375")
    with pytest.raises(SetupError, match="on another machine"):
        stack._refuse_foreign_engine(program)
    local = ComposeProgram(command=("docker-compose",), host="tcp://127.0.0.1:2375")
    stack._refuse_foreign_engine(local)


# ------------------------------------------------------------- what no Grafana was asked about


def provisioned(name: str) -> dict[str, Any]:
    text = (FOLDER / "grafana" / name).read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    assert found["apiVersion"] == 1
    return found


def test_grafana_s_data_sources_are_services_and_their_links_lead_to_each_other(
    config: Config,
) -> None:
    sources = provisioned("datasources.yaml")["datasources"]
    known = {each["uid"] for each in sources}
    assert [each["type"] for each in sources if each.get("isDefault")] == ["prometheus"]
    for each in sources:
        host, _, port = each["url"].removeprefix("http://").partition(":")
        assert host in config["services"]
        assert port in {"9090", "9200", "16686"}
        linked = set(re.findall(r'"datasourceUid": "(\w+)"', json.dumps(each["jsonData"])))
        assert linked <= known
        # A single `$` would be taken for a variable of Grafana's environment.
        assert not re.search(r"(?<!\$)\$\{__", json.dumps(each))


def test_grafana_reads_the_twelve_dashboards_where_they_are_mounted(config: Config) -> None:
    (provider,) = provisioned("dashboards.yaml")["providers"]
    grafana = config["services"]["grafana"]
    mounted = {mount["target"]: Path(mount["source"]) for mount in grafana["volumes"][:-1]}
    folder = mounted[provider["options"]["path"]]
    assert len(list(folder.glob("*.json"))) == 12
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (folder / home.name).is_file()
    assert "/etc/grafana/provisioning/datasources/kaizen-otel.yaml" in mounted
    for path in folder.glob("*.json"):
        variables = json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]
        assert any(each["type"] == "datasource" for each in variables), path.name
