"""The native stack from end to end: raw OTLP in, the backends' own APIs asked."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._stack import COMPONENTS, NativeStack, StackPorts
from kaizen_otel._stack.processes import alive
from kaizen_otel.errors import ConfigError, SetupError
from kaizen_otel.testing.backends import (
    BackendError,
    is_jaeger_available,
    query_jaeger_traces,
    query_prometheus,
    search_logs,
    wait_until,
)
from tests.backends.otlp_probe import Probe

if TYPE_CHECKING:
    from pathlib import Path


def test_each_kind_of_telemetry_arrives_where_the_gateway_sends_it(stack: NativeStack) -> None:
    probe = Probe()
    probe.send_telemetry(stack.urls["otlp_http"])

    assert probe.wait_for_trace(stack.urls["jaeger"]) == {
        probe.root_id: "",
        probe.child_id: probe.root_id,
    }
    assert probe.wait_for_counter(stack.urls["prometheus"]) == "7"
    document = probe.wait_for_log(stack.urls["elasticsearch"])
    assert document["trace_id"] == probe.trace_id
    assert document["attributes"]["gen_ai.tool.name"] == "search"


def test_an_answered_audit_record_is_in_the_trail_and_in_no_backend(stack: NativeStack) -> None:
    probe = Probe()
    probe.send_audit(stack.urls["audit"], f"intent {probe.trace_id}")

    lines = (stack.audit_directory / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if probe.trace_id in line]
    assert len(found) == 1
    assert json.loads(found[0])["resourceLogs"]
    assert search_logs(trace_id=probe.trace_id, url=stack.urls["elasticsearch"]) == []


def test_everything_listens_on_loopback_and_says_so(stack: NativeStack) -> None:
    assert {each.state for each in stack.status()} == {"ready"}
    assert all("127.0.0.1:" in url for url in stack.urls.values())


def test_up_again_leaves_running_components_alone(stack: NativeStack) -> None:
    before = [each.pid for each in stack.status()]
    stack.up()
    assert [each.pid for each in stack.status()] == before


def test_other_ports_are_refused_while_it_runs(stack: NativeStack) -> None:
    other = NativeStack(directory=stack.directory, ports=StackPorts.free())
    with pytest.raises(ConfigError, match=r"runs already, on other ports \(jaeger_\w+=\d+, "):
        other.up()


def test_a_second_stack_is_told_which_port_is_taken_and_by_which_setting_it_moves(
    stack: NativeStack, tmp_path: Path
) -> None:
    taken = stack.ports.prometheus
    second = NativeStack(
        directory=tmp_path, ports=StackPorts.free().changed([f"prometheus={taken}"])
    )
    with pytest.raises(SetupError, match=rf"port {taken} \(prometheus\).*--port prometheus=NUMBER"):
        second.up(["prometheus"])
    assert second.urls == {}


def test_a_component_that_failed_takes_down_what_was_started_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: NativeStack
) -> None:
    """`stack` is asked for so that everything is obtained and a skip has been decided."""
    broken = tmp_path / "jaeger"
    broken.write_text("#!/bin/sh\necho no licence for Mondays; exit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("KAIZEN_OTEL_JAEGER", str(broken))
    ports = StackPorts.free()
    native_stack = NativeStack(directory=tmp_path / "stack", ports=ports)
    with pytest.raises(SetupError, match=r"(?s)jaeger ended with code 3.*no licence for Mondays"):
        native_stack.up(["jaeger", "prometheus"])
    assert {each.state for each in native_stack.status()} == {"stopped"}
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", ports.prometheus))


def test_another_process_can_end_what_this_one_started(tmp_path: Path, stack: NativeStack) -> None:
    native_stack = NativeStack(directory=tmp_path, ports=StackPorts.free())
    native_stack.up(["prometheus"])
    (running,) = native_stack._alive().values()
    program = (
        "import pathlib, sys; from kaizen_otel._stack import NativeStack;"
        "print(NativeStack(directory=pathlib.Path(sys.argv[1])).down())"
    )
    for expected in ("['prometheus']", "[]"):  # the second time there is nothing to end
        answer = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout.strip() == expected
    assert not alive(running.identity)
    assert native_stack.down() == []


def test_a_component_that_ended_by_itself_is_reported_and_started_again(
    tmp_path: Path, stack: NativeStack
) -> None:
    with NativeStack(directory=tmp_path, ports=StackPorts.free()) as native_stack:
        native_stack.up(["prometheus"])
        (running,) = native_stack._alive().values()
        subprocess.run(["kill", "-KILL", str(running.identity.pid)], check=True)
        wait_until(lambda: native_stack.status()[1].state == "ended", 30)
        native_stack.up(["prometheus"])
        assert {each.component for each in native_stack.status() if each.state == "ready"} == {
            "prometheus"
        }


def test_an_unknown_component_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"grafana.*jaeger, prometheus"):
        NativeStack(directory=tmp_path).up([*COMPONENTS, "grafana"])


def test_questions_to_backends_answer_empty_for_what_is_not_there(stack: NativeStack) -> None:
    probe = Probe()
    assert is_jaeger_available(stack.urls["jaeger"])
    assert not is_jaeger_available("http://127.0.0.1:9")
    jaeger_url = stack.urls["jaeger"]
    assert query_jaeger_traces(probe.service, url=jaeger_url) == []
    assert query_jaeger_traces(probe.service, url=jaeger_url, trace_id=probe.trace_id) == []
    assert query_prometheus("absent_metric", url=stack.urls["prometheus"]) == []
    assert query_prometheus("1 + 1", url=stack.urls["prometheus"])[0]["value"][1] == "2"
    assert search_logs(trace_id=probe.trace_id, url=stack.urls["elasticsearch"]) == []
    assert search_logs(url=stack.urls["elasticsearch"], index="no-such-index") == []


def test_a_wrong_question_is_answered_with_the_backends_own_words(stack: NativeStack) -> None:
    with pytest.raises(BackendError, match="parse error"):
        query_prometheus("sum(", url=stack.urls["prometheus"])
