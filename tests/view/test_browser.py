"""The viewer as people use it: a real browser over the files of a real run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.unit._view.kit import append, histogram, line, record, span
from tests.view.conftest import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.view.conftest import Browser

    Viewing = Callable[[Path], AbstractContextManager[str]]

PAGES = ("traces", "conversations", "metrics", "logs", "audit")
IMAGES = Path(__file__).parents[2] / "docs" / "images"


def keep_picture(browser: Browser, name: str) -> None:
    """Renew a picture of the documentation, if that was asked for."""
    if os.environ.get("KAIZEN_OTEL_UPDATE_CAPTURE"):
        IMAGES.mkdir(exist_ok=True)
        browser.driver.save_screenshot(str(IMAGES / f"{name}.png"))
    assert (IMAGES / f"{name}.png").is_file(), "run with KAIZEN_OTEL_UPDATE_CAPTURE=1"


def test_every_page_shows_the_demo_and_the_console_stays_empty(
    browser: Browser, demo: Path, viewing: Viewing
) -> None:
    with viewing(demo) as link:
        browser.open(link)
        assert "token" not in browser.driver.current_url
        browser.shows("invoke_agent Researcher", "chat mock-model", "gen_ai.agent.name")
        keep_picture(browser, "view-traces")
        browser.go("#/conversations")
        browser.shows("demo-session", "execute_tool ask_writer", "is off")
        browser.go("#/metrics")
        browser.shows("gen_ai.client.token.usage")
        browser.click(".card", "gen_ai.execute_tool.duration")
        browser.shows("Duration of one call of a tool", "tool.name=ask_writer")
        browser.go("#/logs")
        browser.shows("agent Researcher started", "the demo's own log line")
        browser.go("#/audit")
        browser.shows("Clean", "kaizen.tool.execute", "lookup_deliveries")
        keep_picture(browser, "view-audit")
        assert browser.complaints() == []


def test_a_click_leads_from_a_trace_to_its_logs_its_audit_records_and_back(
    browser: Browser, demo: Path, viewing: Viewing
) -> None:
    with viewing(demo) as link:
        browser.open(link)
        browser.click(".span", "execute_tool ask_writer")
        browser.until("return document.querySelector('.span[aria-selected=true]').innerText"
                      ".includes('ask_writer')")  # fmt: skip
        deep = browser.driver.current_url
        assert "span=" in deep
        browser.click("[role=tab]", "Logs")
        browser.shows("agent Writer finished")
        browser.click("[role=tab]", "Audit")
        browser.click("tr.item", "kaizen.tool.execute")
        browser.click("tr.more a", "logs of the trace")
        browser.shows("agent Writer started")
        assert "the demo's own log line" not in browser.run("return document.body.innerText")
        browser.click("tr.item", "agent Writer started")
        browser.click("tr.more a", "its trace")
        browser.shows("invoke_agent Researcher")
        # The address of a span leads to it, from anywhere.
        browser.open(deep)
        browser.until("return document.querySelector('.span[aria-selected=true]').innerText"
                      ".includes('ask_writer')")  # fmt: skip
        assert browser.complaints() == []


def test_keys_search_move_and_change_the_light(
    browser: Browser, demo: Path, viewing: Viewing
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        for key in keys:
            ActionChains(browser.driver).send_keys(key).perform()

    with viewing(demo) as link:
        browser.open(link)
        press("g", "a")
        browser.shows("kaizen.memory.read")
        press("/", *"memory", Keys.ENTER)
        browser.until("return location.hash === '#/audit?q=memory'")
        browser.until("return ![...document.querySelectorAll('tr.item')]"
                      ".some((row) => row.innerText.includes('kaizen.tool'))")  # fmt: skip
        press("j", Keys.ENTER)
        browser.shows("audit.record.id")
        before = browser.run("return document.documentElement.dataset.theme")
        press("d")
        browser.until("return document.documentElement.dataset.theme !== arguments[0]", before)
        press("?")
        browser.until("return document.getElementById('keys').open")
        press(Keys.ESCAPE, "g", "m")
        browser.shows("gen_ai.client.token.usage")
        assert browser.complaints() == []


HOSTILE = (
    "</script><script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "<svg onload=window.hacked=1>",
    "javascript:window.hacked=1",
    "${window.hacked=1}{{window.hacked=1}}",
    "\u202egnp.exe \x00 \x1b[31m",
    "__proto__",
)


def hostile_folder(folder: Path) -> None:
    for n, text in enumerate(HOSTILE, 1):
        names = {
            text: text, "gen_ai.agent.name": text, "gen_ai.tool.name": text,
            "gen_ai.conversation.id": text, "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": text, "error.type": text,
        }  # fmt: skip
        event = {"name": text, "timeUnixNano": "1", "attributes": []}
        odd = span(n, 1, name=text, attributes=names, failed=True, events=[event],
                   links=[{"traceId": text, "spanId": text}])  # fmt: skip
        append(folder / "traces.jsonl", line("Spans", [odd], service=text))
        logged = record(n, 1, body=text, event=text, severity=text)
        append(folder / "logs.jsonl", line("Logs", [logged], service=text))
        audited = record(n, 1, event=text)
        audited["attributes"] = [
            {"key": key, "value": {"stringValue": text}}
            for key in ("audit.actor.id", "audit.target.id", "audit.outcome", "audit.record.id",
                        "kaizen.audit.stream_id", text)
        ]  # fmt: skip
        append(folder / "audit/audit.jsonl", line("Logs", [audited], service=text))
        point = histogram(text, n, total=1, count=1)
        append(folder / "metrics.jsonl", line("Metrics", [{**point, "description": text}]))
    append(folder / "traces.jsonl", b"<script>window.hacked=1</script>\n")


def look_everywhere(browser: Browser) -> None:
    for page in PAGES:
        browser.go(f"#/{page}")
        places = browser.run(
            "return [...document.querySelectorAll('main a')].map((a) => a.getAttribute('href'))"
        )
        for place in dict.fromkeys(places):
            assert place.startswith("#/"), place
        browser.run("document.querySelectorAll('tr.item').forEach((row) => row.click())")
        for place in list(dict.fromkeys(places))[:12]:
            browser.go(place)
        assert browser.run("return window.hacked === undefined"), page
        made = browser.run(
            "return document.querySelectorAll('main script, main img, main iframe').length"
        )
        assert made == 0


def test_hostile_content_is_shown_and_stays_inert(
    browser: Browser, tmp_path: Path, viewing: Viewing
) -> None:
    hostile_folder(tmp_path)
    with viewing(tmp_path) as link:
        browser.open(link)
        browser.shows("<svg onload=window.hacked=1>")
        look_everywhere(browser)
        assert browser.complaints() == []


def test_the_same_content_would_act_if_it_were_put_into_markup(
    browser: Browser, tmp_path: Path, viewing: Viewing
) -> None:
    """The saboteur: the page made unsafe, and its policy taken away, is caught by the same look."""
    hostile_folder(tmp_path)
    report = tmp_path / "report.html"
    subprocess.run([*COMMAND, "view", str(tmp_path), "--export", str(report)], check=True)
    page = report.read_text(encoding="utf-8")
    policy_at = page.index("<meta http-equiv")
    page = page[:policy_at] + page[page.index(">", policy_at) + 1 :]
    safe = "made.append(...children"
    assert safe in page
    unsafe = "for (const c of children.flat(3)) if (typeof c === 'string') made.innerHTML += c;"
    report.write_text(page.replace(safe, f"{unsafe} made.append(...children"), encoding="utf-8")
    browser.open(report.as_uri())
    with pytest.raises(AssertionError):
        look_everywhere(browser)
    browser.complaints()


def test_an_edited_record_is_shown_as_tampering(
    browser: Browser, demo: Path, tmp_path: Path, viewing: Viewing
) -> None:
    folder = tmp_path / "dev"
    shutil.copytree(demo, folder)
    trail = folder / "audit" / "audit.jsonl"
    text = trail.read_text(encoding="utf-8")
    assert "lookup_deliveries" in text
    trail.write_text(text.replace("lookup_deliveries", "lookup_everything", 1), encoding="utf-8")
    with viewing(folder) as link:
        browser.open(link)
        browser.go("#/audit")
        browser.shows("Tampering")


def test_what_is_written_now_appears_when_live(
    browser: Browser, tmp_path: Path, viewing: Viewing
) -> None:
    append(tmp_path / "traces.jsonl", line("Spans", [span(1, 1, name="first run")]))
    with viewing(tmp_path) as link:
        browser.open(link)
        browser.click("#live")
        append(tmp_path / "traces.jsonl", line("Spans", [span(2, 1, name="second run")]))
        browser.shows("second run", "first run")
        append(tmp_path / "traces.jsonl", line("Spans", [span(3, 1, name="third run")])[:40])
        browser.shows("a line without an end")
        assert browser.complaints() == []


def test_the_report_is_one_file_that_works_alone(
    browser: Browser, demo: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    done = subprocess.run(
        [*COMMAND, "view", str(demo), "--export", str(report), "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["bytes"] == report.stat().st_size
    browser.open(report.as_uri())
    browser.shows("invoke_agent Researcher", "chat mock-model")
    browser.click("[role=tab]", "Audit")
    browser.shows("kaizen.tool.execute")
    for page in PAGES:
        browser.go(f"#/{page}")
        assert browser.run("return document.querySelector('main .empty') === null"), page
    browser.shows("Clean")
    asked = browser.run("return performance.getEntriesByType('resource').length")
    assert asked == 0
    assert browser.complaints() == []


def test_a_hundred_times_more_spans_do_not_make_the_first_look_slower(
    browser: Browser, tmp_path: Path, viewing: Viewing
) -> None:
    """Within three times, while the rest of the large file is still being read."""
    names = {"gen_ai.agent.name": "A", "gen_ai.tool.name": "t", "note": "x" * 150}
    folders = {count: tmp_path / str(count) for count in (1_000, 100_000)}
    for count, folder in folders.items():
        folder.mkdir()
        with (folder / "traces.jsonl").open("wb") as file:
            for trace in range(1, count // 10 + 1):
                run = [span(trace, n, parent=n > 1, attributes=names) for n in range(1, 11)]
                file.write(line("Spans", run))
    times: dict[int, list[float]] = {count: [] for count in folders}
    for _ in range(3):
        for count, folder in folders.items():
            with viewing(folder) as link:
                started_s = time.perf_counter()
                browser.driver.get(link)
                browser.until("return document.querySelector('.list .row') !== null")
                times[count].append(time.perf_counter() - started_s)
    assert median(times[100_000]) <= 3 * median(times[1_000]), times


def test_a_folder_without_data_says_what_to_do(
    browser: Browser, tmp_path: Path, viewing: Viewing
) -> None:
    with viewing(tmp_path) as link:
        browser.open(link)
        browser.shows("No trace", "kaizen-otel demo")
        for page in PAGES:
            browser.go(f"#/{page}")
        assert browser.complaints() == []
