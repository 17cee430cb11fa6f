"""Start a Collector, wait until it is healthy, stop it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kaizen_otel._collector.resources import inherited_environment
from kaizen_otel._edges import SystemClock
from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from kaizen_otel._edges import Clock

POLL_NS = 50_000_000

# The Collector answers its health check a moment before it listens for SIGTERM (otelcol's
# Collector.Run calls signal.Notify after all components have started); until then the signal ends
# it on the spot.
SIGNAL_GRACE_NS = 250_000_000
LOG_LINES_SHOWN = 12

# The variables through which the shipped configs take their ports, with the ports of design.md.
PORTS = {
    "KAIZEN_OTEL_GRPC_PORT": 4317,
    "KAIZEN_OTEL_HTTP_PORT": 4318,
    "KAIZEN_OTEL_AUDIT_PORT": 4319,
    "KAIZEN_OTEL_HEALTH_PORT": 13133,
    "KAIZEN_OTEL_METRICS_PORT": 8888,
}

# Below what operating systems give to outgoing connections (Linux from 32768, macOS from 49152):
# one of those could take the port between the look and the start.
FREE_PORT_RANGE = range(20_000, 32_000)


def free_ports() -> dict[str, str]:
    """Values for all port variables that nothing listens on now (for tests and demos)."""
    free: list[str] = []
    for port in random.SystemRandom().sample(FREE_PORT_RANGE, len(FREE_PORT_RANGE)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(str(port))
        if len(free) == len(PORTS):
            return dict(zip(PORTS, free, strict=True))
    raise SetupError(
        f"fewer than {len(PORTS)} free ports from {FREE_PORT_RANGE.start} to "
        f"{FREE_PORT_RANGE.stop - 1}: stop what listens there"
    )


class CollectorProcess:
    """One Collector process with its config, environment and log.

    ``environment`` is laid over the current one, from which the agent's own ``OTEL_*`` variables
    are left out: they would configure the Collector's inner SDK.  Use as a context manager
    (start on entry, stop on exit) or call ``start`` and ``stop``.
    """

    def __init__(
        self,
        config: Path | Sequence[Path],
        *,
        binary: Path,
        environment: Mapping[str, str],
        log_path: Path,
        clock: Clock | None = None,
    ) -> None:
        """Prepare; nothing is started.  Raises ConfigError for a port that is no number."""
        self.configs = (config,) if isinstance(config, Path) else tuple(config)
        self.binary = binary
        self.log_path = log_path
        inherited = inherited_environment(os.environ)
        self.environment = {**inherited, **environment}
        self.bind = self.environment.get("KAIZEN_OTEL_BIND") or "127.0.0.1"
        self.grpc_port = self._port("KAIZEN_OTEL_GRPC_PORT")
        self.http_port = self._port("KAIZEN_OTEL_HTTP_PORT")
        self.audit_port = self._port("KAIZEN_OTEL_AUDIT_PORT")
        self.health_port = self._port("KAIZEN_OTEL_HEALTH_PORT")
        self.metrics_port = self._port("KAIZEN_OTEL_METRICS_PORT")
        self._clock: Clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._healthy_ns = 0

    @property
    def pid(self) -> int | None:
        """The process id while it is started, else None."""
        return self._process.pid if self._process is not None else None

    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, deadline_s: float = 30.0) -> None:
        """Start and return when the health check answers, at most ``deadline_s`` seconds later.

        Raises SetupError, with the last lines of the log, if a port is taken, the process ends or
        the time is over; no process is left behind.
        """
        assert not self.running(), "started twice"
        self._refuse_taken_ports()
        deadline_ns = self._clock.monotonic_ns() + int(deadline_s * 1e9)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        command = [str(self.binary)]
        for path in self.configs:
            command += ["--config", str(path)]
        with self.log_path.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    # Ctrl-C in the terminal reaches us, and we stop it in order.
                    start_new_session=True,
                    umask=0o077,  # trail and telemetry are for this user only
                )
            except OSError as error:
                raise SetupError(f"{self.binary} cannot be started: {error}") from error
        self._wait_until_healthy(deadline_ns, deadline_s)

    def stop(self, deadline_s: float = 15.0) -> int | None:
        """End the process in order (SIGTERM), by force after ``deadline_s``; its exit code.

        None if it was not running.  Idempotent.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            age_ns = self._clock.monotonic_ns() - self._healthy_ns
            self._clock.wait(threading.Event(), SIGNAL_GRACE_NS - age_ns)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash would.  Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def wait(self, stopped: threading.Event) -> int | None:
        """Wait until the process ends (its exit code) or ``stopped`` is set (None)."""
        assert self._process is not None, "not started"
        while not self._clock.wait(stopped, 4 * POLL_NS):
            code = self._process.poll()
            if code is not None:
                return code
        return None

    def log_tail(self, lines: int = LOG_LINES_SHOWN) -> str:
        """The last lines of the Collector's log."""
        return log_tail(self.log_path, lines)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _port(self, name: str) -> int:
        text = self.environment.get(name) or str(PORTS[name])
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
            raise ConfigError(f"{name}={text!r} is no port: set {name} to a number up to 65535")
        return int(text)

    def _refuse_taken_ports(self) -> None:
        # Else another Collector's health check would answer for ours.  A config of the user's own
        # may use other ports: only the variables that it names count.
        text = "".join(path.read_text(encoding="utf-8") for path in self.configs)
        taken = [
            f"{self._port(name)} ({name})"
            for name in PORTS
            if name in text and _listens(self.bind, self._port(name))
        ]
        if taken:
            raise SetupError(
                f"the Collector was not started: something listens already on port "
                f"{', '.join(taken)} of {self.bind}; stop it or set the named variables to free "
                "ports"
            )

    def _wait_until_healthy(self, deadline_ns: int, deadline_s: float) -> None:
        process = self._process
        assert process is not None
        never = threading.Event()
        url = f"http://{_loopback(self.bind)}:{self.health_port}/"
        while True:
            code = process.poll()
            if code is not None:
                self._process = None
                raise SetupError(
                    f"the Collector ended with code {code} instead of starting; the end of "
                    f"{self.log_path}:\n{self.log_tail()}"
                )
            if _healthy(url):
                self._healthy_ns = self._clock.monotonic_ns()
                return
            if self._clock.monotonic_ns() >= deadline_ns:
                self.kill()
                raise SetupError(
                    f"the Collector was not healthy at {url} after {deadline_s:g} s and was "
                    "ended; its config needs the extension health_check at that address "
                    f"(KAIZEN_OTEL_HEALTH_PORT); the end of {self.log_path}:\n{self.log_tail()}"
                )
            self._clock.wait(never, POLL_NS)


def log_tail(path: Path, lines: int = LOG_LINES_SHOWN) -> str:
    """The last ``lines`` lines of a text file, empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64 * 1024))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _loopback(bind: str) -> str:
    return "127.0.0.1" if bind in {"0.0.0.0", "::", "[::]"} else bind  # noqa: S104 - compared only


def _listens(bind: str, port: int) -> bool:
    try:
        socket.create_connection((_loopback(bind).strip("[]"), port), timeout=1).close()
    except OSError:
        return False
    return True


def _healthy(url: str) -> bool:
    # Not through a proxy: the address is this machine's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP OK
    except (OSError, urllib.error.URLError):
        return False
