"""The Collector and its backends as containers, for tests (https://testcontainers.com).

Needs the extra ``kaizen-otel[testing]`` and a Docker engine.  ``KAIZEN_OTEL_TEST_IMAGES`` chooses
the images: ``official`` (the default: pinned images of each project) or ``local`` (made once from
programs that this package builds or fetches, for machines that reach no image registry; the store
is then an OpenSearch node).  Our own tests have run the local ones; the official ones are named
after the projects' documentation.

Every container drops all capabilities, publishes its ports on free ports of 127.0.0.1 where the
engine is on this machine, and keeps nothing unless a data directory is given.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import yaml

from kaizen_otel._collector.resources import config_path
from kaizen_otel._edges import SystemClock
from kaizen_otel._stack import StackPorts, jaeger, opensearch, templates
from kaizen_otel._stack import prometheus as prometheus_program
from kaizen_otel._stack.engine import find_engine
from kaizen_otel._stack.images import ensure_image
from kaizen_otel._stack.processes import answers
from kaizen_otel.errors import ConfigError, NotEnabledError, SetupError

try:
    from testcontainers.core.config import ConnectionMode
    from testcontainers.core.container import DockerContainer
except ImportError as _error:
    raise NotEnabledError(
        "containers for tests need testcontainers: pip install 'kaizen-otel[testing]'"
    ) from _error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kaizen_otel._edges import Clock

ImageSource = Literal["official", "local"]
IMAGES_VARIABLE = "KAIZEN_OTEL_TEST_IMAGES"
COLLECTOR_IMAGE = "otel/opentelemetry-collector-contrib:0.161.0"
JAEGER_IMAGE = "jaegertracing/jaeger:2.13.0"
PROMETHEUS_IMAGE = "prom/prometheus:v3.16.0"
ELASTICSEARCH_IMAGE = "docker.elastic.co/elasticsearch/elasticsearch:9.1.0"
START_DEADLINE_S = 120.0
LOG_BYTES_SHOWN = 3000
_POLL_NS = 100_000_000
_LOCAL_USER = 10001


def image_source() -> ImageSource:
    """Which images KAIZEN_OTEL_TEST_IMAGES asks for.  Raises ConfigError for another word."""
    text = os.environ.get(IMAGES_VARIABLE) or "official"
    if text not in {"official", "local"}:
        raise ConfigError(f"{IMAGES_VARIABLE}={text!r}: set it to official or local")
    return cast("ImageSource", text)


class _ProjectContainer(DockerContainer):
    """What the four have in common: image, hardening, loopback ports, waiting."""

    component: ClassVar[str]
    official_image: ClassVar[str]
    container_ports: ClassVar[tuple[int, ...]]
    ready: ClassVar[tuple[int, str]]
    memory: ClassVar[str] = "512m"

    def __init__(
        self,
        image: str | None = None,
        *,
        deadline_s: float = START_DEADLINE_S,
        clock: Clock | None = None,
    ) -> None:
        """Choose the image; nothing is started.  Raises SetupError when it cannot be made."""
        self.source: ImageSource = "official" if image else image_source()
        self.deadline_s = deadline_s
        self._clock: Clock = clock or SystemClock()
        super().__init__(image or self._default_image())
        self._on_this_machine = (
            self.get_docker_client().get_connection_mode() is ConnectionMode.docker_host
            and self.get_docker_client().host() == "localhost"
        )
        for port in self.container_ports:
            # docker-py takes (address, None) for a free port of one address.
            binding: Any = ("127.0.0.1", None) if self._on_this_machine else None
            self.ports[f"{port}/tcp"] = binding
        self.with_kwargs(
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=self.memory,
            read_only=self.read_only(),
        )

    def read_only(self) -> bool:
        """Whether its root file system can be read-only."""
        return True

    def address(self, port: int) -> str:
        """``host:port`` under which this machine reaches a port of the container now."""
        host = "127.0.0.1" if self._on_this_machine else self.get_container_host_ip()
        return f"{host}:{self._get_exposed_port(port)}"

    def start(self) -> Self:
        """Start, and return when it answers.

        Raises SetupError, with the end of its output, if it does not within its deadline.
        """
        super().start()
        self.wait_until_ready()
        return self

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; its files stay for `start_again`."""
        container = self.get_wrapped_container()
        container.kill("SIGKILL")
        container.wait(timeout=60)

    def start_again(self) -> None:
        """Start it after `kill`; its published ports may be others than before."""
        self.get_wrapped_container().start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when it answers.  Raises SetupError with its output when it does not."""
        deadline_ns = self._clock.monotonic_ns() + int(self.deadline_s * 1e9)
        port, path = self.ready
        never = threading.Event()
        container = self.get_wrapped_container()
        while True:
            container.reload()
            if container.status == "running" and answers(f"http://{self.address(port)}{path}"):
                return
            ended = container.status in {"exited", "dead"}
            if ended or self._clock.monotonic_ns() >= deadline_ns:
                output = b"".join(self.get_logs())[-LOG_BYTES_SHOWN:].decode("utf-8", "replace")
                raise SetupError(
                    f"the container {self.component} ({self.image}) is {container.status} and did "
                    f"not answer within {self.deadline_s:g} s; the end of its output:\n{output}"
                )
            self._clock.wait(never, _POLL_NS)

    def _default_image(self) -> str:
        if self.source == "official":
            return self.official_image
        host = find_engine()
        if host is None:
            raise SetupError("no Docker engine answers: start one or set DOCKER_HOST to it")
        return ensure_image(self.component, host=host)

    def _writable(self, path: str, size: str, user: int) -> None:
        self.tmpfs[path] = f"size={size},uid={user},gid={user},mode=0750"


class CollectorContainer(_ProjectContainer):
    """The Collector with a shipped config (``gateway``, ``dev``) or one of yours.

    ``environment`` holds its destinations and settings, such as ``JAEGER_OTLP_ENDPOINT``.  Its
    queues, trail and dead letters are in ``/data``: in memory unless ``data_directory`` names a
    folder of this machine that user 10001 may write.
    """

    component = "collector"
    official_image = COLLECTOR_IMAGE
    container_ports = (4317, 4318, 4319, 13133)
    ready = (13133, "/")
    memory = "1g"

    def __init__(
        self,
        image: str | None = None,
        *,
        config: str | Path = "gateway",
        environment: Mapping[str, str] | None = None,
        data_directory: Path | None = None,
        deadline_s: float = START_DEADLINE_S,
    ) -> None:
        """Read the config.  Raises ConfigError when there is none of that name."""
        super().__init__(image, deadline_s=deadline_s)
        # The config travels in the environment: no file to mount, on any engine.
        text = config_path(str(config)).read_text(encoding="utf-8")
        self.with_command(["--config=env:KAIZEN_OTEL_COLLECTOR_CONFIG"])
        self.env |= {
            "KAIZEN_OTEL_COLLECTOR_CONFIG": text,
            "KAIZEN_OTEL_BIND": "0.0.0.0",  # noqa: S104 - inside the container
            "KAIZEN_OTEL_DATA_DIR": "/data",
            "KAIZEN_OTEL_QUEUE_DIR": "/data/queue",
            "KAIZEN_OTEL_AUDIT_DIR": "/data/audit",
            "KAIZEN_OTEL_DEAD_LETTER_DIR": "/data/dead-letter",
            **(environment or {}),
        }
        if data_directory is None:
            self._writable("/data", "256m", _LOCAL_USER)
        else:
            self.with_volume_mapping(data_directory, "/data", "rw")

    @property
    def otlp_http_url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT with http/protobuf."""
        return f"http://{self.address(4318)}"

    @property
    def otlp_grpc_address(self) -> str:
        """``host:port`` for OTLP over gRPC."""
        return self.address(4317)

    @property
    def audit_url(self) -> str:
        """For KAIZEN_OTEL_AUDIT_ENDPOINT."""
        return f"http://{self.address(4319)}"


class JaegerContainer(_ProjectContainer):
    """Jaeger v2 with traces in memory; in its network it takes OTLP on 14317 and 14318."""

    component = "jaeger"
    official_image = JAEGER_IMAGE
    container_ports = (16686, 14317, 14318, 13134)
    ready = (13134, "/status")

    def __init__(self, image: str | None = None, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Prepare its configuration."""
        super().__init__(image, deadline_s=deadline_s)
        config = jaeger.configuration(StackPorts(), host="0.0.0.0")  # noqa: S104 - in the container
        self.with_command(["--config=env:KAIZEN_OTEL_JAEGER_CONFIG"])
        self.env["KAIZEN_OTEL_JAEGER_CONFIG"] = yaml.safe_dump(config)
        self._writable("/tmp", "64m", _LOCAL_USER)  # noqa: S108 - in the container

    @property
    def url(self) -> str:
        """Its page and query API, as `kaizen_otel.testing.backends` takes it."""
        return f"http://{self.address(16686)}"

    @property
    def otlp_grpc_address(self) -> str:
        """``host:port`` for OTLP over gRPC, past the Collector."""
        return self.address(14317)


class PrometheusContainer(_ProjectContainer):
    """Prometheus that scrapes nothing of ours and takes remote writes on 9090."""

    component = "prometheus"
    official_image = PROMETHEUS_IMAGE
    container_ports = (9090,)
    ready = (9090, "/-/ready")

    def __init__(self, image: str | None = None, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Prepare its command line."""
        super().__init__(image, deadline_s=deadline_s)
        arguments = prometheus_program.arguments(
            config="/etc/prometheus/prometheus.yml",
            data="/prometheus",
            host="0.0.0.0",  # noqa: S104 - inside the container
            ports=StackPorts(),
        )
        self.with_command(list(arguments))
        nobody = 65534
        self._writable("/prometheus", "256m", _LOCAL_USER if self.source == "local" else nobody)

    @property
    def url(self) -> str:
        """Its address, as `kaizen_otel.testing.backends` takes it."""
        return f"http://{self.address(9090)}"


class ElasticsearchContainer(_ProjectContainer):
    """One Elasticsearch node without authentication; an OpenSearch node as local image."""

    component = "elasticsearch"
    official_image = ELASTICSEARCH_IMAGE
    container_ports = (9200,)
    ready = (9200, "/_cluster/health?wait_for_status=yellow&timeout=1s")
    memory = "1g"

    def __init__(self, image: str | None = None, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Prepare its settings; an image of your own is configured as the official one."""
        super().__init__(image, deadline_s=deadline_s)
        if self.source == "local":
            self._writable("/data", "512m", _LOCAL_USER)
            self._writable("/tmp", "64m", _LOCAL_USER)  # noqa: S108 - in the container
            return
        heap = " ".join(flag for flag in opensearch.JAVA_FLAGS if flag.startswith("-Xm"))
        self.env |= {
            "discovery.type": "single-node",
            "xpack.security.enabled": "false",
            "ES_JAVA_OPTS": heap.replace("256m", "512m"),
        }

    def start(self) -> Self:
        """Start, and return when it answers and has the shipped index template.

        Raises SetupError when it does not.
        """
        super().start()
        templates.put_all(self.url)
        return self

    def read_only(self) -> bool:
        """The official image writes its keystore beside its configuration."""
        return self.source == "local"

    @property
    def url(self) -> str:
        """Its address, as `kaizen_otel.testing.backends` takes it."""
        return f"http://{self.address(9200)}"
