"""Images of our own under the official names, so that compose.yaml runs as it stands.

In the private engine only: the same programs as of the local images, and what the official images
have beside them and compose.yaml calls (`wget`, `chown`, `tail`, `sh`, `curl`).  Grafana and Kibana
cannot be had this way: in their place stands something that only answers, so that what Compose does
with them is run, and nothing of what they do.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from kaizen_otel._stack import images
from kaizen_otel._stack.build import (
    ToolMissingError,
    apt_install,
    apt_update,
    build_once,
    digest_of,
    may_use_apt,
    run_long,
    say,
)
from kaizen_otel._stack.engine import PRIVATE_HOST
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._stack.images import ImageSpec

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "collector" / "compose"
SECURITY = COMPOSE / "compose.security.yaml"
# Debian's Prometheus is older than the one of compose.yaml, and ends at an option it does not know.
TOO_NEW = "--web.enable-otlp-receiver"
_ANSWER = """
daemon off;
pid /tmp/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {{
        listen {port};
        return 200 '{{"success":true}}';
    }}
}}
"""
_DATA = "/usr/share/elasticsearch/data"


def services(*names: str) -> dict[str, dict[str, object]]:
    """The services of compose.yaml, or of another file beside it."""
    text = (COMPOSE / (names[0] if names else "compose.yaml")).read_text(encoding="utf-8")
    found: dict[str, dict[str, object]] = yaml.safe_load(text)["services"]
    return found


def override(folder: Path) -> Path:
    """A Compose file that takes out what our images are too old for."""
    command = services()["prometheus"]["command"]
    assert isinstance(command, list)
    assert TOO_NEW in command
    changed = {"prometheus": {"command": [word for word in command if word != TOO_NEW]}}
    path = folder / "override.yaml"
    path.write_text(yaml.safe_dump({"services": changed}), encoding="utf-8")
    return path


def make_images_if_private(host: str) -> None:
    """In the private engine: make them and give them the names of the Compose files.

    An engine of the user's own keeps its images, and runs the official ones.
    """
    if host != PRIVATE_HOST:
        return
    for service, spec in _specs():
        file = "compose.security.yaml" if service == "proxy" else "compose.yaml"
        text = (COMPOSE / file).read_text(encoding="utf-8").split(f"\n  {service}:\n")[1]
        name = text.split("image: ")[1].split("\n")[0].split("#")[0].split()[-1]
        made = images.put_image(spec, host=host)
        repository, _, tag = name.rpartition(":")
        query = f"repo={repository}&tag={tag}"
        status, answer = images.call_engine(host, "POST", f"/images/{made}/tag?{query}")
        assert status == 201, answer


def _specs() -> Iterator[tuple[str, ImageSpec]]:
    box = debian_package("busybox-static") / "bin" / "busybox"

    def with_tools(name: str, *tools: str, **more: Path) -> ImageSpec:
        spec = images.image_spec(name)
        beside = {f"bin/{tool}": box for tool in tools}
        return dataclasses.replace(
            spec, name=f"official-{name}", files={**spec.files, **beside, **more}
        )

    yield "collector", with_tools("collector")
    yield "jaeger", with_tools("jaeger", "wget")
    yield "prepare", with_tools("prometheus", "wget", "chown", "tail")
    curl = curl_program()
    libraries = images.linked_libraries([curl])
    tools = ("sh", "dirname", "grep", "sed", "tail", "test", "touch")
    store = with_tools("elasticsearch", *tools, **libraries)
    yield (
        "elasticsearch",
        dataclasses.replace(
            store,
            files={**store.files, "usr/bin/curl": curl.resolve()},
            folders=(_DATA,),
            entrypoint=tuple(
                word.replace("/data/home", f"{_DATA}/home") for word in store.entrypoint
            ),
        ),
    )
    nginx = debian_package("nginx") / "usr" / "sbin" / "nginx"
    proxy = images.ImageSpec(
        name="official-nginx",
        files={"bin/nginx": nginx, "bin/wget": box, **images.linked_libraries([nginx])},
        folders=(),
        entrypoint=("/bin/nginx",),
    )
    yield "proxy", proxy
    asking = {"usr/bin/curl": curl.resolve(), **libraries}
    for name, port in (("grafana", 3000), ("kibana", 5601)):
        files = {**proxy.files, **asking, "etc/answer.conf": _ANSWER.format(port=port).encode()}
        yield (
            name,
            dataclasses.replace(
                proxy,
                name=f"instead-of-{name}",
                files=files,
                entrypoint=("/bin/nginx", "-c", "/etc/answer.conf", "-e", "/dev/stderr"),
            ),
        )


def curl_program() -> Path:
    """This machine's `curl`, installed if that can be done.  Raises ToolMissingError."""
    if shutil.which("curl") is None and may_use_apt():
        apt_install(["curl"], log_path=Path(tempfile.gettempdir()) / "apt-curl.log", progress=say)
    found = shutil.which("curl")
    if found is None:
        raise ToolMissingError("no `curl` on PATH: install it")
    return Path(found)


def debian_package(name: str) -> Path:
    """A package of Debian, unpacked into the cache; nothing is installed."""

    def make(folder: Path) -> None:
        log = folder / "apt.log"
        try:
            _download(name, folder)
        except SetupError:  # no package lists yet, or old ones
            if not may_use_apt():
                raise
            apt_update(log_path=log, progress=say)
            _download(name, folder)
        (archive,) = folder.glob("*.deb")
        command = ["dpkg-deb", "-x", str(archive), str(folder / "root")]
        run_long(command, what="unpacking it", log_path=log)
        archive.unlink()

    release = Path("/etc/os-release")
    digest = digest_of([release] if release.is_file() else [], "unpacked")
    try:
        return build_once(f"{name}-debian", digest, make, progress=say) / "root"
    except SetupError as error:
        raise ToolMissingError(f"Debian's package {name} cannot be had: {error}") from error


def _download(name: str, folder: Path) -> None:
    run_long(
        ["apt-get", "download", "-q", name],
        what=f"fetching Debian's {name}",
        log_path=folder / "apt.log",
        working_directory=folder,
    )
