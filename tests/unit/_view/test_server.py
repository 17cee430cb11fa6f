"""Who gets in, with what policy, and what the viewer says about trails, exports and wrong calls."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import httpx
import pytest
from click.testing import CliRunner

from kaizen_otel._cli.view import view
from kaizen_otel._view.export import build_page, report
from kaizen_otel._view.server import Viewer, listen
from kaizen_otel.errors import ConfigError
from tests.unit._view.kit import append, line, record, span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "t" * 48
HOME = "http://127.0.0.1:8686"
PATHS = (
    "/", "/static/app.js", "/api/overview", "/api/traces", f"/api/traces/{1:032x}",
    "/api/conversations", "/api/metrics", "/api/logs", "/api/audit", "/api/verification",
)  # fmt: skip


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Viewer]:
    append(tmp_path / "traces.jsonl", line("Spans", [span(1, 1, name="</script><b>x</b>")]))
    append(tmp_path / "logs.jsonl", line("Logs", [record(1, 1, body="<img src=x onerror=a()>")]))
    found = Viewer(tmp_path)
    found.start()
    yield found
    found.close()


class Browser:
    """Asks the application in this process, and keeps its cookies."""

    def __init__(self, viewer: Viewer) -> None:
        self._app = viewer.app(token=TOKEN, cookie="c")
        self.cookies = httpx.Cookies()

    def request(self, method: str, path: str, **headers: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, cookies=self.cookies) as client:
                return await client.request(method, HOME + path, headers=headers)

        answer = asyncio.run(ask())
        self.cookies.update(answer.cookies)
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, **headers)


def client(viewer: Viewer) -> Browser:
    return Browser(viewer)


def test_the_link_lets_in_and_leaves_no_token_in_the_address(viewer: Viewer) -> None:
    asking = client(viewer)
    answer = asking.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    for path in PATHS:
        assert asking.get(path).status_code == 200, path


@pytest.mark.parametrize("path", PATHS)
def test_nobody_gets_anything_without_the_token(viewer: Viewer, path: str) -> None:
    for more in ("", "?token=", "?token=x", f"?token={TOKEN[:-1]}", "?token=%ff"):
        assert client(viewer).get(path + more).status_code == 403
    wrong = client(viewer)
    wrong.cookies.set("c", "x")
    assert wrong.get(path).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_name_that_leads_here_is_refused_even_with_the_token(viewer: Viewer, host: str) -> None:
    """DNS rebinding: the browser sends the foreign name."""
    answer = client(viewer).get(f"/?token={TOKEN}", host=host)
    assert answer.status_code == 421


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e%2fserver.py", "/static/server.py", "/static/",
     "/etc/passwd", "/api", "/api/traces/x/y"],
)  # fmt: skip
def test_what_is_not_there_is_404_and_no_file_of_the_machine(viewer: Viewer, path: str) -> None:
    asking = client(viewer)
    asking.get(f"/?token={TOKEN}")
    assert asking.get(path).status_code == 404


def test_what_nobody_wrote_is_null(viewer: Viewer) -> None:
    asking = client(viewer)
    asking.get(f"/?token={TOKEN}")
    for path in ("/api/metrics/none", "/api/traces/none", "/api/conversations/none"):
        answer = asking.get(path)
        assert (answer.status_code, answer.json()) == (200, None)


def test_nothing_can_be_changed(viewer: Viewer) -> None:
    asking = client(viewer)
    asking.get(f"/?token={TOKEN}")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert asking.request(method, "/api/traces").status_code == 405


def test_every_answer_has_a_policy_that_runs_nothing_foreign(viewer: Viewer) -> None:
    asking = client(viewer)
    asking.get(f"/?token={TOKEN}")
    for path in (*PATHS, "/none"):
        headers = asking.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_odd_questions_get_an_answer(viewer: Viewer) -> None:
    asking = client(viewer)
    asking.get(f"/?token={TOKEN}")
    for question in ("skip=-1", "skip=x", "before=x", "before=9:9", "q=%00", "skip=9" * 50):
        for path in ("/api/traces", "/api/logs"):
            assert asking.get(f"{path}?{question}").status_code == 200


def test_a_report_holds_everything_and_ends_no_element(viewer: Viewer) -> None:
    page = report(viewer)
    assert page.count("<script") == 6
    assert page.count("</script>") == 6
    assert (
        "src="
        not in re.sub(
            r"<script type=\"application/json\".*?</script>", "", page, flags=re.DOTALL
        ).split("<script>")[0]
    )
    data = re.search(r'id="answers">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert "<" not in data[1]
    found = json.loads(data[1])
    assert found["/api/traces"]["traces"][0]["root"] == "</script><b>x</b>"
    assert found["/api/logs"]["records"][0]["body"] == "<img src=x onerror=a()>"
    assert "'unsafe" not in page


def test_the_reports_policy_names_its_own_scripts_only() -> None:
    first, second = build_page({}), build_page({"/api/x": "'sha256-'"})
    policies = {re.search(r'policy" content="([^"]*)"', page)[1] for page in (first, second)}  # type: ignore[index]
    assert len(policies) == 1
    assert policies.pop().count("sha256-") == 6


def test_the_verdict_is_of_the_trail_as_it_is_now(viewer: Viewer, tmp_path: Path) -> None:
    trail = tmp_path / "audit/audit.jsonl"
    assert viewer.verification.answer(wait=True) == {"state": "none"}
    append(trail, line("Logs", [record(1, 1, event="kaizen.tool")]))
    assert viewer.verification.answer()["state"] == "running"
    found = viewer.verification.answer(wait=True)
    assert (found["state"], found["verdict"]) == ("done", "incomplete")
    assert viewer.verification.answer() == found
    append(trail, b"half a line")
    assert viewer.verification.answer()["state"] == "stale"
    later = viewer.verification.answer(wait=True)
    assert later["state"] == "done"
    assert len(later["findings"]) > len(found["findings"])


def test_a_taken_port_is_one_sentence_that_names_the_option() -> None:
    taken = listen(0)
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match="--port"):
        listen(port)
    taken.close()
    for wrong in (-1, 70_000):
        with pytest.raises(ConfigError, match="--port"):
            listen(wrong)


def test_the_command_writes_a_report(tmp_path: Path, viewer: Viewer) -> None:
    path = tmp_path / "report.html"
    arguments = [str(tmp_path), "--export", str(path), "--json"]
    done = CliRunner().invoke(view, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"path": str(path), "bytes": path.stat().st_size}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(view, [str(tmp_path / "none")])
    assert isinstance(done.exception, ConfigError)
    assert "kaizen-otel demo" in str(done.exception)
