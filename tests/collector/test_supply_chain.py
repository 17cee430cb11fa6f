"""What is shipped has a bill of materials, and a search for advisories that tells what it knows."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.collector.background import BackgroundServer

ROOT = Path(__file__).parents[2]
ADVISORY = "GO-2026-0001"
MODULE = "go.etcd.io/bbolt"


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sbom")
    done = subprocess.run(
        [sys.executable, ".ci/sbom.py", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 4:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("valid CycloneDX") == 4
    return {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}


def test_each_bill_names_every_component_with_its_version(bills: dict[str, dict[str, Any]]) -> None:
    assert set(bills) == {
        *("kaizen-otel.cdx", "tools-image.cdx", "collector-gateway.cdx", "collector-dev.cdx"),
    }
    for bill in bills.values():
        for component in [bill["metadata"]["component"], *bill["components"]]:
            assert component["name"]
            assert component["version"]
        assert all(component["purl"] for component in bill["components"])


def test_the_wheels_bill_has_what_the_package_requires(bills: dict[str, dict[str, Any]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[<>=]", line)[0].lower() for line in project["dependencies"]}
    found = {component["name"].lower() for component in bills["kaizen-otel.cdx"]["components"]}
    assert required <= found
    assert "pytest" not in found, "nothing that only developers install"


def test_the_tools_images_bill_has_packages_interpreter_and_libraries(
    bills: dict[str, dict[str, Any]],
) -> None:
    bill = bills["tools-image.cdx"]
    assert bill["metadata"]["component"]["type"] == "container"
    found = {component["name"].lower() for component in bill["components"]}
    assert {"kaizen-otel", "cryptography", "cpython"} <= found
    assert any(name.startswith(("libc", "musl")) for name in found)
    assert not {"pip", "pytest"} & found


def test_a_collectors_bill_has_its_components_and_ours(bills: dict[str, dict[str, Any]]) -> None:
    builder = ROOT / "collector" / "builder"
    components = re.findall(r"gomod: (\S+) v", (builder / "manifest.yaml").read_text())
    required = (builder / "distribution" / "gateway" / "go.mod").read_text()
    versions = dict(re.findall(r"^\t(\S+) (v\S+)", required, re.MULTILINE))
    found = {
        (part["name"], part["version"]) for part in bills["collector-gateway.cdx"]["components"]
    }
    assert {(name, versions[name]) for name in components} <= found
    assert any(name == "stdlib" for name, _ in found), "advisories of Go itself name it"


class Osv(BackgroundServer):
    """The API of osv.dev, which knows something of one package."""

    def __init__(self, affected: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.affected = affected


class _Asked(http.server.BaseHTTPRequestHandler):
    server: Osv

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        events = [{"introduced": "0"}]
        advisory = {
            "id": "PYSEC-2026-1",
            "modified": "2026-01-01T00:00:00Z",
            "published": "2026-01-01T00:00:00Z",
            "summary": "a test",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": events}],
                }
            ],
        }
        body = json.dumps({"vulns": [advisory]} if name == self.server.affected else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def go_database(folder: Path, *modules: str) -> str:
    """A database as https://go.dev/security/vuln/database describes it."""
    when = "2026-01-01T00:00:00Z"
    entry = {
        "schema_version": "1.3.1",
        "id": ADVISORY,
        "modified": when,
        "published": when,
        "summary": "a test",
        "affected": [
            {
                "package": {"name": module, "ecosystem": "Go"},
                "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
                "ecosystem_specific": {},
            }
            for module in modules
        ],
    }
    vulns = [{"id": ADVISORY, "modified": when}]
    files: dict[str, Any] = {
        "index/db.json": {"modified": when},
        "index/modules.json": [{"path": module, "vulns": vulns} for module in modules],
        "index/vulns.json": vulns if modules else [],
        f"ID/{ADVISORY}.json": entry,
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return folder.as_uri()


@pytest.mark.parametrize("is_known", [False, True])
def test_advisories_are_found(
    bills: dict[str, dict[str, Any]], tmp_path: Path, is_known: bool
) -> None:
    database = go_database(tmp_path, *([MODULE] if is_known else []))
    with Osv("pyyaml" if is_known else "") as osv:
        done = look_up(f"http://127.0.0.1:{osv.server_port}/v1/query", database)
    assert done.returncode == int(is_known), done.stdout + done.stderr
    assert ("wheel: KNOWN pyyaml" in done.stdout) == is_known
    assert (f"Collector gateway: KNOWN {MODULE}" in done.stdout) == is_known
    assert "NOT CHECKED" not in done.stdout


def test_without_a_database_nothing_is_called_clean(
    bills: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    done = look_up("http://127.0.0.1:1/v1/query", (tmp_path / "nowhere").as_uri())
    assert done.returncode == 4
    assert done.stdout.count("NOT CHECKED") == 3
    assert "This says NOTHING about vulnerabilities" in done.stdout


def look_up(osv: str, database: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, ".ci/vulnerabilities.py", "--here"],
        cwd=ROOT,
        env={**os.environ, "OSV_URL": osv, "GO_VULNERABILITY_DATABASE": database},
        capture_output=True,
        text=True,
        check=False,
    )
