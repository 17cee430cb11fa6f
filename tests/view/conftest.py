"""A real browser, and the files that a real demo run leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import config_path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from kaizen_otel._cli import main; main()"]
WAIT_S = 60


class Browser:
    """Chromium without a window, looking at one page."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--window-size=1360,880",
                         "--hide-scrollbars", "--force-color-profile=srgb"):  # fmt: skip
            options.add_argument(argument)
        options.binary_location = shutil.which("chromium") or ""
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(
            options=options, service=Service(shutil.which("chromedriver"))
        )

    def open(self, link: str) -> None:
        self.driver.get(link)
        self.until("return document.getElementById('page').dataset.ready")

    def go(self, place: str) -> None:
        """Follow a link within the page, as a click on it would."""
        before = self.run("return document.getElementById('page').dataset.ready")
        self.run("location.hash = arguments[0]", place)
        script = "return document.getElementById('page').dataset.ready !== arguments[0]"
        self.until(script, before)

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever JavaScript returns
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - as above
        return WebDriverWait(self.driver, WAIT_S, poll_frequency=0.05).until(
            lambda _: self.run(script, *arguments), message=script
        )

    def click(self, selector: str, text: str = "") -> None:
        """Click on the first element that fits, once it is there."""
        script = """
            const found = [...document.querySelectorAll(arguments[0])]
                .find((each) => each.textContent.includes(arguments[1]));
            if (found) found.click();
            return Boolean(found);
        """
        self.until(script, selector, text)

    def shows(self, *texts: str) -> None:
        """Wait until the page shows all of these texts."""
        for text in texts:
            self.until("return document.body.innerText.includes(arguments[0])", text)

    def complaints(self) -> list[str]:
        """What the page wrote to its console since the last question."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver: on Debian `apt-get install chromium-driver`")
    found = Browser()
    yield found
    found.driver.quit()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `kaizen-otel demo` wrote; tests change copies only."""
    binary = obtain([config_path("dev")], progress=print)
    state = tmp_path_factory.mktemp("state")
    subprocess.run(
        [*COMMAND, "demo"],
        env={**os.environ, "XDG_STATE_HOME": str(state), "KAIZEN_OTEL_COLLECTOR": str(binary.path)},
        check=True,
        capture_output=True,
        timeout=180,
    )
    return state / "kaizen-otel" / "dev"


@pytest.fixture
def viewing(browser: Browser) -> Callable[[Path], Any]:
    """Run `kaizen-otel view FOLDER` for the time of a with statement; gives the link."""

    @contextmanager
    def start(folder: Path) -> Generator[str]:
        with subprocess.Popen(
            [*COMMAND, "view", str(folder), "--port", "0", "--json"], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            try:
                yield json.loads(process.stdout.readline())["url"]
            finally:
                # A page that goes on asking would complain about the server that is gone.
                browser.driver.get("about:blank")
                browser.complaints()
                process.terminate()
                process.wait(20)

    return start
