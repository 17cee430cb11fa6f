"""Images made from our own programs, for machines that reach no image registry.

Each is one layer from nothing: the program, the libraries that it is linked with, its
configuration, and no shell.  They run as user 10001.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import socket
import subprocess
import tarfile
import tempfile
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from kaizen_otel._stack import gateway, jaeger, opensearch, prometheus
from kaizen_otel._stack.build import ToolMissingError, build_once, digest_of, run_long, say
from kaizen_otel._stack.engine import PRIVATE_HOST
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

USER = 10001
REPOSITORY = "localhost/kaizen-otel"
TIMEOUT_S = 300
# What OpenSearch uses of the JDK: log4j needs java.beans (java.desktop), its Thai analysis needs
# the locale data.
JAVA_MODULES = (
    *("java.desktop", "java.instrument", "java.logging", "java.management", "java.naming"),
    *("java.sql", "java.xml", "jdk.crypto.ec", "jdk.localedata", "jdk.management", "jdk.net"),
    *("jdk.unsupported", "jdk.zipfs"),
)
# Libraries of java.desktop that a server never loads, and that need X11.
_DESKTOP = re.compile(r"lib(awt|fontmanager|freetype|jsound|lcms|mlib|splash|javajpeg|jawt)")
_HTTP_OK = 200
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """What one image holds: files by their path in it, folders that its user may write, config."""

    name: str
    files: Mapping[str, Path | bytes]
    folders: tuple[str, ...]
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


def ensure_image(
    name: str,
    *,
    host: str,
    cache: Path | None = None,
    progress: Callable[[str], None] = say,
) -> str:
    """The tag of the local image ``name`` in the engine at ``host``, made if it is not there.

    ``name`` is ``collector``, ``jaeger``, ``prometheus`` or ``elasticsearch``.  The tag changes
    with the content.  Raises SetupError saying what is missing.
    """
    return put_image(image_spec(name, cache=cache, progress=progress), host=host, progress=progress)


def image_spec(
    name: str, *, cache: Path | None = None, progress: Callable[[str], None] = say
) -> ImageSpec:
    """What the local image ``name`` holds.  Raises SetupError saying what is missing."""
    return _SPECS[name](cache, progress)


def put_image(spec: ImageSpec, *, host: str, progress: Callable[[str], None] = say) -> str:
    """The tag of an image in the engine at ``host``, made if it is not there.

    Raises SetupError when Docker does not take it.
    """
    name = spec.name
    with tempfile.TemporaryFile() as archive:
        digest = write_archive(spec, archive)
        tag = f"{REPOSITORY}/{name}:{digest}"
        status, _ = call_engine(host, "GET", f"/images/{tag}/json")
        if status == _HTTP_OK:
            return tag
        progress(f"{name}: making the image {tag}")
        query = urllib.parse.urlencode(
            [("fromSrc", "-"), ("repo", f"{REPOSITORY}/{name}"), ("tag", digest)]
            + [("changes", line) for line in _changes(spec)]
        )
        archive.seek(0)
        status, answer = call_engine(host, "POST", f"/images/create?{query}", body=archive)
    if status != _HTTP_OK or b'"error"' in answer:
        reason = answer.decode("utf-8", "replace")[-500:]
        raise SetupError(f"Docker did not take the image of {name} ({status}): {reason}")
    if host == PRIVATE_HOST:  # in an engine of the user's own nothing is removed
        _remove_others(tag, host=host)
    return tag


def _remove_others(tag: str, *, host: str) -> None:
    """Remove earlier images of the same name, so that old ones do not pile up."""
    repository = tag.rpartition(":")[0]
    query = urllib.parse.urlencode({"filters": json.dumps({"reference": [repository]})})
    _, answer = call_engine(host, "GET", f"/images/json?{query}")
    for image in json.loads(answer):
        for other in image["RepoTags"] or ():
            if other != tag:
                call_engine(host, "DELETE", f"/images/{other}")  # refused while a container runs it


def write_archive(spec: ImageSpec, target: io.BufferedIOBase | io.BufferedRandom) -> str:
    """Write an image's files as a tar archive, the same bytes for the same content; its digest."""
    writer = _HashingWriter(target)
    with tarfile.open(fileobj=writer, mode="w|") as archive:
        for folder in ("tmp", *spec.folders):
            entry = tarfile.TarInfo(folder.strip("/"))
            entry.type, entry.uid, entry.gid = tarfile.DIRTYPE, USER, USER
            entry.mode = 0o1777 if folder == "tmp" else 0o750
            archive.addfile(entry)
        for path, content in sorted(spec.files.items()):
            entry = tarfile.TarInfo(path.strip("/"))
            if isinstance(content, bytes):
                entry.mode, entry.size = 0o644, len(content)
                archive.addfile(entry, io.BytesIO(content))
                continue
            status = content.stat()
            entry.mode = 0o755 if status.st_mode & 0o100 else 0o644
            entry.size = status.st_size
            with content.open("rb") as file:
                archive.addfile(entry, file)
    writer.state.update("\n".join(_changes(spec)).encode())
    return writer.state.hexdigest()[:16]


def linked_libraries(programs: Iterable[Path]) -> dict[str, Path]:
    """The libraries that programs are linked with, and their loader; empty for static ones."""
    found: dict[str, Path] = {}
    for program in programs:
        answer = subprocess.run(
            ["ldd", str(program)], capture_output=True, text=True, timeout=60, check=False
        )
        for path in re.findall(r"(/\S+) \(0x", answer.stdout):
            found[path] = Path(path).resolve()
    return found


def call_engine(
    host: str, method: str, path: str, *, body: io.BufferedIOBase | io.BufferedRandom | None = None
) -> tuple[int, bytes]:
    """One request to Docker's API; status and body.  Raises SetupError if it does not answer."""
    parts = urllib.parse.urlsplit(host)
    connection: http.client.HTTPConnection
    if parts.scheme == "unix":
        connection = _UnixConnection(parts.path)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    headers = {"Content-Type": "application/x-tar"} if body is not None else {}
    try:
        connection.request(method, path, body=body, headers=headers, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError as error:
        raise SetupError(f"the Docker engine at {host} did not answer: {error}") from error
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


class _HashingWriter(io.RawIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, target: io.BufferedIOBase | io.BufferedRandom) -> None:
        super().__init__()
        self.state = hashlib.sha256()
        self._target = target

    def writable(self) -> bool:
        """Only this."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # tarfile writes bytes
        """Hash and pass on."""
        self.state.update(data)
        return self._target.write(data)


def _changes(spec: ImageSpec) -> list[str]:
    words = ", ".join(f'"{word}"' for word in spec.entrypoint)
    variables = [f"ENV {key}={value}" for key, value in sorted(spec.environment.items())]
    return [f"USER {USER}:{USER}", f"ENTRYPOINT [{words}]", *variables]


def _collector(cache: Path | None, progress: Callable[[str], None]) -> ImageSpec:
    program = gateway.obtain(cache=cache, progress=progress)
    return ImageSpec(
        name="collector",
        files={"otelcol": program, **linked_libraries([program])},
        folders=("data",),
        entrypoint=("/otelcol",),
    )


def _jaeger(cache: Path | None, progress: Callable[[str], None]) -> ImageSpec:
    program = jaeger.obtain(cache=cache, progress=progress)
    return ImageSpec(
        name="jaeger",
        files={"jaeger": program, **linked_libraries([program])},
        folders=(),
        entrypoint=("/jaeger",),
    )


def _prometheus(cache: Path | None, progress: Callable[[str], None]) -> ImageSpec:
    program = prometheus.obtain(cache=cache, progress=progress)
    config = yaml.safe_dump(prometheus.configuration()).encode()
    return ImageSpec(
        name="prometheus",
        files={
            "bin/prometheus": program,
            "etc/prometheus/prometheus.yml": config,
            **linked_libraries([program]),
        },
        folders=("prometheus",),
        entrypoint=("/bin/prometheus",),
    )


def _elasticsearch(cache: Path | None, progress: Callable[[str], None]) -> ImageSpec:
    folder = opensearch.obtain(cache=cache, progress=progress)
    runtime = java_runtime(cache=cache, progress=progress)
    java = {
        f"java/{path.relative_to(runtime)}": path
        for path in runtime.rglob("*")
        if path.is_file() and not _DESKTOP.match(path.name)
    }
    native = [path for path in java.values() if path.name == "java" or path.suffix == ".so"]
    jars = {f"lib/{path.name}": path for path in (folder / "lib").glob("*.jar")}
    classes = {f"classes/{path.name}": path for path in (folder / "classes").glob("*.class")}
    system = {
        name: path
        for name, path in linked_libraries(native).items()
        if not path.is_relative_to(runtime)
    }
    return ImageSpec(
        name="elasticsearch",
        files={**java, **jars, **classes, **system},
        folders=("data",),
        entrypoint=(
            *("/java/bin/java", *opensearch.JAVA_FLAGS, "-XX:-UsePerfData"),
            *("-cp", "/classes:/lib/*", "Launcher", "/data/home"),
            *("network.host=0.0.0.0", "http.port=9200", "transport.port=9300"),
        ),
    )


def java_runtime(*, cache: Path | None, progress: Callable[[str], None]) -> Path:
    """A folder with a Java that holds what OpenSearch needs, made by jlink where it can."""
    java = opensearch.find_java()
    jlink = opensearch.find_java("jlink")
    objection = "there is no `java`" if java is None else opensearch.java_objection(java)
    if java is None or objection:
        raise ToolMissingError(
            f"the image of OpenSearch cannot be made: {objection}. Install Java "
            f"{opensearch.JAVA_MIN} or later"
        )
    home = java.resolve().parent.parent
    if jlink is None or not (home / "jmods").is_dir():
        return home

    def make(folder: Path) -> None:
        run_long(
            [
                *(str(jlink), "--add-modules", ",".join(JAVA_MODULES)),
                *("--no-header-files", "--no-man-pages", "--strip-java-debug-attributes"),
                *("--output", str(folder / "java")),
            ],
            what="making a small Java for the image",
            log_path=folder / "jlink.log",
            progress=progress,
        )

    digest = digest_of([home / "release"], *JAVA_MODULES)
    return build_once("java", digest, make, cache=cache, progress=progress) / "java"


_SPECS: Mapping[str, Callable[[Path | None, Callable[[str], None]], ImageSpec]] = {
    "collector": _collector,
    "jaeger": _jaeger,
    "prometheus": _prometheus,
    "elasticsearch": _elasticsearch,
}
