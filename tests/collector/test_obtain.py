"""Where a binary comes from: the order of sources, and what makes one unfit."""

from __future__ import annotations

import hashlib
import http.server
import io
import shutil
import tarfile
import threading
from typing import TYPE_CHECKING, Self

import pytest

from kaizen_otel._collector.build import PROGRAM, cached_binary, inputs_hash
from kaizen_otel._collector.components import DISTRIBUTIONS
from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.release import RELEASE_VERSION, release_for
from kaizen_otel._collector.resources import (
    cache_directory,
    collector_directory,
    config_path,
    executable_name,
)
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._collector.components import Components
    from kaizen_otel._collector.obtain import Obtained

DEV = DISTRIBUTIONS["dev"]
NOWHERE = "http://127.0.0.1:9/releases"  # the discard port: nothing listens


def script(components: Components, version: str = "0.161.0") -> str:
    """A program that answers as a Collector would."""
    lines = ["exporters:", "  - {name: none, module: none v1}"]
    for kind in sorted({kind for kind, _ in components} - {"exporters"}):
        key = "scheme" if kind == "providers" else "name"
        lines.append(f"{kind}:")
        lines += [f"  - {{{key}: {name}}}" for each, name in sorted(components) if each == kind]
    lines[2:2] = [f"  - {{name: {name}}}" for kind, name in components if kind == "exporters"]
    answer = "\n".join(lines)
    return (
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo otelcol version {version}; exit 0; fi\n'
        f"cat <<'END'\n{answer}\nEND\n"
    )


def fake(path: Path, components: Components = DEV, version: str = "0.161.0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script(components, version))
    path.chmod(0o755)
    return path


class World:
    """A machine with its own PATH, cache and home; ``said`` is what the user was told."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in ("sh", "cat"):
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        self.environment = {
            "PATH": str(self.bin),
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self.said: list[str] = []

    def obtain(
        self, config: str = "dev", *, releases_url: str = NOWHERE, own: bool = False
    ) -> Obtained:
        return obtain(
            [config_path(config)],
            environment=self.environment,
            progress=self.said.append,
            releases_url=releases_url,
            own=own,
        )

    def cached(self, distribution: str = "dev") -> Path:
        cache = cache_directory(self.environment)
        return cached_binary(cache, collector_directory(), distribution)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin))  # the scripts find their tools there
    return made


def test_the_sources_are_asked_in_order(world: World, tmp_path: Path) -> None:
    named = fake(tmp_path / "named")
    on_path = fake(world.bin / "otelcol")
    first_on_path = fake(world.bin / "otelcol-contrib")
    last_on_path = fake(world.bin / "kaizen-otelcol")
    cached = fake(world.cached())

    world.environment["KAIZEN_OTEL_COLLECTOR"] = str(named)
    expected = [
        ("environment", named),
        ("path", first_on_path),
        ("path", on_path),
        ("path", last_on_path),
        ("cache", cached),
    ]
    for source, path in expected:
        obtained = world.obtain()
        assert (obtained.source, obtained.path) == (source, path)
        assert obtained.version == "0.161.0"
        path.unlink()
        world.environment.pop("KAIZEN_OTEL_COLLECTOR", None)
    assert world.said == []


@pytest.mark.parametrize("version", ["0.157.0", "0.171.0"])
def test_a_wrong_version_is_said_and_the_next_source_is_asked(world: World, version: str) -> None:
    fake(world.bin / "otelcol-contrib", version=version)
    good = fake(world.bin / "otelcol")
    assert world.obtain().path == good
    assert f"version {version} is outside the supported range >=0.158.0,<0.171.0" in world.said[0]


def test_a_missing_component_is_said_and_the_next_source_is_asked(
    world: World, tmp_path: Path
) -> None:
    world.environment["KAIZEN_OTEL_COLLECTOR"] = str(
        fake(tmp_path / "mine", DEV - {("exporters", "file"), ("extensions", "health_check")})
    )
    good = fake(world.cached())
    assert world.obtain().path == good
    assert "lacks exporter file, extension health_check" in world.said[0]


def test_what_is_no_collector_is_said_and_the_next_source_is_asked(
    world: World, tmp_path: Path
) -> None:
    good = fake(world.cached())
    for content, reason in (
        ("#!/bin/sh\necho hello\n", "is no Collector"),
        ("#!/bin/sh\necho broken >&2\nexit 3\n", "ended with code 3: broken"),
        ("", "cannot be run"),
        ("#!/bin/sh\necho otelcol version 0.161.0\n", "`components` answer is unreadable"),
    ):
        mine = tmp_path / "mine"
        mine.write_text(content)
        mine.chmod(0o755)
        world.environment["KAIZEN_OTEL_COLLECTOR"] = str(mine)
        assert world.obtain().path == good
        assert reason in world.said[-1]
    world.environment["KAIZEN_OTEL_COLLECTOR"] = str(tmp_path / "missing")
    assert world.obtain().path == good


def test_the_gateway_in_the_cache_serves_the_small_config_too(world: World) -> None:
    gateway = fake(world.cached("gateway"), DISTRIBUTIONS["gateway"])
    assert world.obtain("dev").path == gateway


def test_a_foreign_elasticsearch_exporter_is_refused_where_ours_is_asked_for(
    world: World,
) -> None:
    foreign = fake(world.bin / "otelcol-contrib", DISTRIBUTIONS["gateway"])
    assert world.obtain("gateway").path == foreign
    with pytest.raises(SetupError, match="is the official one"):
        world.obtain("gateway", own=True)


def test_without_any_source_all_reasons_and_the_remedies_are_listed(world: World) -> None:
    fake(world.bin / "otelcol", version="0.99.0")
    with pytest.raises(SetupError) as raised:
        world.obtain()
    text = str(raised.value)
    assert "version 0.99.0" in text
    assert "127.0.0.1:9 cannot be reached" in text
    assert "no `go` on PATH" in text
    assert "KAIZEN_OTEL_COLLECTOR" in text
    assert "https://go.dev/dl" in text


def test_a_component_that_no_distribution_has_is_not_built(world: World, tmp_path: Path) -> None:
    config = tmp_path / "kafka.yaml"
    config.write_text("exporters: {kafka: {}}\n")
    with pytest.raises(SetupError, match="none of our distributions has exporter kafka"):
        obtain(
            [config],
            environment=world.environment,
            progress=world.said.append,
            releases_url=NOWHERE,
        )


# ------------------------------------------------------------------------------- the release


class Releases(http.server.ThreadingHTTPServer):
    """Serves one official release, as complete or broken as a test wants it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/releases"

    def publish(self, program: str, content: str, *, checksum: str | None = None) -> None:
        release = release_for(program, releases_url=self.url)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, text in (("README.md", "hello"), (release.program, content)):
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        archive = buffer.getvalue()
        digest = hashlib.sha256(archive).hexdigest() if checksum is None else checksum
        self.files = {
            _path(release.archive_url): archive,
            _path(release.checksums_url): (
                f"{'0' * 64}  another.tar.gz\n{digest}  {release.archive_name}\n"
            ).encode(),
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Releases

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_a_release_is_downloaded_once_and_then_found_in_the_cache(world: World) -> None:
    with Releases() as releases:
        releases.publish("otelcol", script(DEV))
        obtained = world.obtain(releases_url=releases.url)
    assert obtained.source == "release"
    cache = cache_directory(world.environment) / "collector"
    assert obtained.path == cache / f"otelcol-{RELEASE_VERSION}" / executable_name("otelcol")
    assert world.obtain().source == "cache"
    assert [path.name for path in obtained.path.parent.iterdir()] == [obtained.path.name]


def test_the_gateway_asks_for_the_contrib_release(world: World) -> None:
    with Releases() as releases:
        releases.publish("otelcol-contrib", script(DISTRIBUTIONS["gateway"]))
        assert world.obtain("gateway", releases_url=releases.url).source == "release"


def test_a_download_with_another_checksum_is_thrown_away(world: World) -> None:
    with Releases() as releases:
        releases.publish("otelcol", script(DEV), checksum="1" * 64)
        with pytest.raises(SetupError, match="the download was thrown away"):
            world.obtain(releases_url=releases.url)
    assert not list((cache_directory(world.environment) / "collector").rglob("otelcol"))


def test_a_release_without_this_machines_archive_is_refused(world: World) -> None:
    with Releases() as releases:
        releases.publish("otelcol-contrib", script(DEV))
        name = _path(release_for("otelcol", releases_url=releases.url).checksums_url)
        releases.files = {name: b"nothing here\n"}
        with pytest.raises(SetupError, match=r"names no otelcol_.*\.tar\.gz"):
            world.obtain(releases_url=releases.url)


def test_an_archive_without_the_program_is_refused(world: World) -> None:
    with Releases() as releases:
        releases.publish("otelcol", script(DEV))
        release = release_for("otelcol", releases_url=releases.url)
        broken = b"this is no archive"
        releases.files = {
            _path(release.archive_url): broken,
            _path(release.checksums_url): (
                f"{hashlib.sha256(broken).hexdigest()}  {release.archive_name}\n".encode()
            ),
        }
        with pytest.raises(SetupError, match="is no readable archive"):
            world.obtain(releases_url=releases.url)


def test_a_release_that_does_not_fit_is_not_used(world: World) -> None:
    with Releases() as releases:
        releases.publish("otelcol", script(DEV - {("exporters", "file")}))
        with pytest.raises(SetupError, match=r"release: .* lacks exporter file"):
            world.obtain(releases_url=releases.url)


# --------------------------------------------------------------------------------- the build


def go(world: World, body: str) -> None:
    path = world.bin / "go"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_build_ends_in_the_cache_and_is_made_once(world: World) -> None:
    content = script(DEV).replace("'END'", "'INNER'").replace("\nEND\n", "\nINNER\n")
    # `go build -v FLAGS -o OUTPUT .`: the output is the eighth argument.
    go(world, f'[ -f main.go ] || exit 9\ncat > "$8" <<\'FILE\'\n{content}FILE\n/bin/chmod +x "$8"')
    obtained = world.obtain()
    assert (obtained.source, obtained.path) == ("build", world.cached())
    assert any("building the dev Collector" in line for line in world.said)
    go(world, "exit 1")
    assert world.obtain().source == "cache"
    leftover = {path.name for path in world.cached().parent.iterdir()}
    assert leftover == {PROGRAM, f"{PROGRAM}.lock"}


def test_a_failed_build_shows_the_end_of_its_output_and_leaves_no_binary(world: World) -> None:
    go(world, "echo main.go:1: syntax error >&2\nexit 2")
    with pytest.raises(SetupError, match=r"ended with code 2:\s+main.go:1: syntax error"):
        world.obtain()
    assert not world.cached().exists()


def test_two_at_once_build_once(world: World) -> None:
    """The second waits for the lock and finds what the first has built."""
    content = script(DEV).replace("'END'", "'INNER'").replace("\nEND\n", "\nINNER\n")
    log = world.bin / "builds"
    go(
        world,
        f"echo build >> {log}\n/bin/sleep 0.5\n"
        f'cat > "$8" <<\'FILE\'\n{content}FILE\n/bin/chmod +x "$8"',
    )
    found: list[Obtained] = []
    threads = [threading.Thread(target=lambda: found.append(world.obtain())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.path for each in found] == [world.cached()] * 2
    assert log.read_text().count("build") == 1


def test_the_key_of_the_cache_depends_on_sources_and_not_on_tests(tmp_path: Path) -> None:
    copy = tmp_path / "collector"
    shutil.copytree(collector_directory(), copy)
    before = {name: inputs_hash(copy, name) for name in DISTRIBUTIONS}
    assert before == {name: inputs_hash(collector_directory(), name) for name in DISTRIBUTIONS}

    exporter = copy / "exporter" / "elasticsearchexporter"
    (exporter / "new_test.go").write_text("package elasticsearchexporter\n")
    (exporter / "README.md").write_text("changed")
    assert {name: inputs_hash(copy, name) for name in DISTRIBUTIONS} == before

    (exporter / "bulk.go").write_text("package elasticsearchexporter\n")
    assert inputs_hash(copy, "gateway") != before["gateway"]
    assert inputs_hash(copy, "dev") == before["dev"]
