"""What prepares the store and Kibana, against servers of the tests' own that note what is asked."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel._stack import ToolMissingError
from kaizen_otel.testing.backends import wait_until
from tests.containers import official

if TYPE_CHECKING:
    from collections.abc import Iterator

COLLECTOR = Path(__file__).parents[2] / "collector"
SETUP = COLLECTOR / "compose" / "setup"


@dataclass(slots=True)
class Asked:
    """Requests, in order: method and path, headers, body; and what is answered to each."""

    answer: bytes = b"{}"
    status: int = 200
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Asked]:
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.requests.append((f"{self.command} {self.path}", dict(self.headers), body))
            is_question = self.path == "/"
            self.send_response(200 if is_question else asked.status)
            self.send_header("Content-Length", str(len(asked.answer)))
            self.end_headers()
            self.wfile.write(asked.answer)

        do_GET = do_PUT = do_POST = answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        asked.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield asked
        listening.shutdown()
        thread.join()


@pytest.fixture
def store_script(tmp_path: Path) -> Path:
    """The script with the templates beside it, as compose.yaml mounts them."""
    try:
        official.curl_program()
    except ToolMissingError as error:
        pytest.skip(str(error))
    shutil.copytree(SETUP, tmp_path / "setup")
    for name in ("elasticsearch", "kibana"):
        (tmp_path / name).symlink_to(COLLECTOR / name)
    return tmp_path / "setup" / "store.sh"


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_elasticsearch_gets_its_policy_before_the_template_that_names_it(
    server: Asked, store_script: Path
) -> None:
    server.answer = b'{"version": {"number": "9.1.0"}}'
    assert run(store_script, server.url).returncode == 0
    assert [line for line, _, _ in server.requests] == [
        "GET /",
        "PUT /_ilm/policy/kaizen-otel-logs",
        "PUT /_index_template/kaizen-otel-logs",
    ]
    shipped = COLLECTOR / "elasticsearch" / "elasticsearch" / "index-template.json"
    assert json.loads(server.requests[-1][2]) == json.loads(shipped.read_text())
    assert server.requests[-1][1]["Content-Type"] == "application/json"


def test_opensearch_gets_its_own_template(server: Asked, store_script: Path) -> None:
    server.answer = b'{"version": {"distribution" : "opensearch", "number": "2.19.6"}}'
    assert run(store_script, server.url).returncode == 0
    (_, (line, _, body)) = server.requests
    assert line == "PUT /_index_template/kaizen-otel-logs"
    shipped = COLLECTOR / "elasticsearch" / "index-template.json"
    assert json.loads(body) == json.loads(shipped.read_text())


def test_a_store_that_refuses_ends_the_preparation_with_its_own_words(
    server: Asked, store_script: Path
) -> None:
    server.status, server.answer = 400, b'{"error": "no such lifecycle"}'
    done = run(store_script, server.url)
    assert done.returncode != 0
    assert "no such lifecycle" in done.stdout


@contextlib.contextmanager
def kibana(script: Path, url: str, room: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        ["/bin/sh", str(script.with_name("kibana.sh")), url],
        env={"PATH": "/usr/bin:/bin", "JAEGER_URL": "https://traces:1", "TMPDIR": str(room)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_kibana_gets_the_saved_objects_with_links_to_this_stack_s_jaeger_and_it_stays(
    server: Asked, store_script: Path, tmp_path: Path
) -> None:
    server.answer = b'{"successCount":5,"success":true}'
    with kibana(store_script, server.url, tmp_path) as process:
        wait_until((tmp_path / "done").exists, 30)
        assert process.poll() is None, "a container that ends would be taken for one that failed"
    ((line, headers, body),) = server.requests
    assert line == "POST /api/saved_objects/_import?overwrite=true"
    assert headers["kbn-xsrf"]
    assert headers["Content-Type"].startswith("multipart/form-data")
    assert b'filename="objects.ndjson"' in body, "Kibana takes no other ending"
    assert b"https://traces:1/trace/{{value}}" in body
    assert b"localhost:16686" not in body
    sent: list[Any] = [json.loads(each) for each in body.splitlines() if each.startswith(b"{")]
    assert len(sent) == 5


@pytest.mark.parametrize("status", [200, 400])
def test_an_import_that_failed_ends_it_with_kibana_s_words(
    server: Asked, store_script: Path, tmp_path: Path, status: int
) -> None:
    server.status = status
    server.answer = b'{"success":false,"errors":[{"id":"kaizen-otel-agents"}]}'
    with kibana(store_script, server.url, tmp_path) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait(30) != 0
    assert "kaizen-otel-agents" in said
    assert not (tmp_path / "done").exists()
