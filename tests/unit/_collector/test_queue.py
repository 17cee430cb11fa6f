"""What waits in a Collector's queues, read from its own metrics."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from kaizen_otel._cli.collector_queue import queue_command
from kaizen_otel._collector.queue import Waiting, queues, waiting
from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of v0.161, with two destinations that were away; one restart later it said the same.
METRICS = """\
# HELP otelcol_exporter_queue_capacity Fixed capacity of the retry queue (in batches). [Alpha]
# TYPE otelcol_exporter_queue_capacity gauge
otelcol_exporter_queue_capacity{data_type="logs",exporter="elasticsearch"} 200000
# HELP otelcol_exporter_queue_size Current size of the retry queue (in batches). [Alpha]
# TYPE otelcol_exporter_queue_size gauge
otelcol_exporter_queue_size{data_type="logs",exporter="elasticsearch"} 7
otelcol_exporter_queue_size{data_type="metrics",exporter="prometheus_remote_write"} 0
otelcol_exporter_queue_size{data_type="traces",exporter="otlp_grpc/jaeger"} 1.2e+06
"""


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = {
            "/metrics": METRICS,
            "/empty": METRICS.replace("7\n", "0\n").replace("1.2e+06", "0"),
        }
        text = body.get(self.path, "# nothing\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_queue_is_named_with_what_it_holds() -> None:
    assert queues(METRICS) == (
        Waiting(exporter="elasticsearch", signal="logs", size=7),
        Waiting(exporter="prometheus_remote_write", signal="metrics", size=0),
        Waiting(exporter="otlp_grpc/jaeger", signal="traces", size=1_200_000),
    )


def test_a_page_without_queues_is_no_answer_that_nothing_waits(address: str) -> None:
    with pytest.raises(SetupError, match="says nothing of queues"):
        waiting(f"{address}/other")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/metrics", "http://"])
def test_nobody_there_is_no_answer_that_nothing_waits(url: str) -> None:
    with pytest.raises(SetupError, match="does not answer"):
        waiting(url)


def test_an_address_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no URL"):
        waiting("127.0.0.1:8888")


def test_the_command_tells_the_count_and_ends_with_two_while_something_waits(address: str) -> None:
    done = CliRunner().invoke(queue_command, [f"{address}/empty", f"{address}/metrics"])
    assert done.exit_code == 2
    assert f"{address}/metrics: 7 wait, logs for elasticsearch" in done.output
    assert "1200007 wait in 2 Collectors" in done.output


def test_the_command_ends_with_zero_when_nothing_waits(address: str) -> None:
    done = CliRunner().invoke(queue_command, [f"{address}/empty", "--json"])
    assert done.exit_code == 0
    assert '"waiting": 0' in done.output
