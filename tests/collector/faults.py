"""Faults of a real Collector and its destination, and what they took of what was acknowledged."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaizen_otel.errors import SetupError
from tests.collector.otlp_json import Sender, counter, logs, span
from tests.collector.processes import collector
from tests.collector.store import wait_until
from tests.collector.test_files import bodies_of_whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._collector.run import CollectorProcess
    from tests.collector.destination import Destination

#: The official limits, and the pauses between tries, shortened so that a test is beyond them soon.
#: Where a shipped config tries without end this changes nothing but the pauses.
SHORT = """\
exporters:
  otlp_grpc/jaeger: {retry_on_failure: {initial_interval: 100ms, max_interval: 300ms}}
  prometheus_remote_write: {retry_on_failure: {max_interval: 300ms, max_elapsed_time: 1s}}
  elasticsearch: {retry: {initial_interval: 100ms, max_interval: 300ms}}
"""
SHORT_AGENT = """\
exporters:
  otlp_grpc/gateway: {retry_on_failure: {initial_interval: 100ms, max_interval: 300ms}}
"""
SHORT_OTLP = """\
exporters:
  otlp_http/prometheus: {retry_on_failure: {initial_interval: 100ms, max_interval: 300ms}}
"""
#: What the component does when nothing is said, with the same shortened limit.
OFFICIAL = """\
exporters:
  otlp_grpc/jaeger: {retry_on_failure: {max_elapsed_time: 1s}}
"""
#: A queue that is a third of a disk of 6 MB, as the shipped ones are of theirs.
BOUNDED = """\
exporters:
  otlp_grpc/jaeger: {sending_queue: {queue_size: 2000000}}
  elasticsearch: {sending_queue: {queue_size: 2000000}}
"""
#: What arrives together leaves together, as batches are made elsewhere.
MERGING = """\
exporters:
  otlp_grpc/jaeger: {sending_queue: {batch: {min_size: 1000000}}}
  elasticsearch: {sending_queue: {batch: {min_size: 1000}}}
"""
IN_MEMORY = """\
exporters:
  otlp_grpc/jaeger: {sending_queue: {storage: null}}
  elasticsearch: {sending_queue: {storage: null}}
"""

#: How many requests a queue sends at a time (``num_consumers``, exporterhelper's default).
CONSUMERS = 10
_PATIENCE_S = 45
#: Ten or eleven requests, each synced.
_PUTTING_BACK_S = 0.05


@dataclass(frozen=True)
class Route:
    """One signal's way through one shipped config."""

    name: str
    signal: str
    configs: tuple[str, ...]
    short: tuple[str, ...] = ()
    tries: int = 10 * CONSUMERS
    """So many in vain take longer than the shortened limits."""
    is_audit: bool = False


ROUTES = {
    "traces": Route("gateway, traces to Jaeger", "traces", ("gateway",), (SHORT,)),
    "logs": Route("gateway, logs to the store", "logs", ("gateway",), (SHORT,)),
    "remote write": Route(
        "gateway, metrics by remote write", "metrics", ("gateway",), (SHORT,), 20
    ),
    "metrics-otlp": Route(
        "gateway, metrics by OTLP", "metrics", ("gateway", "metrics-otlp"), (SHORT, SHORT_OTLP), 20
    ),
    "agent": Route("agent Collector, logs to a gateway", "logs", ("agent",), (SHORT_AGENT,)),
    "audit": Route("audit", "logs", ("audit",), is_audit=True),
}


@dataclass
class Outcome:
    """What became of the items: each request has one, with a name of its own."""

    acknowledged: int = 0
    refused: int = 0
    lost: int = 0
    duplicated: int = 0
    kills: int = 0


@dataclass
class Rig:
    """A Collector, its destination, and a sender that remembers what was acknowledged."""

    route: Route
    binary: Path
    folder: Path
    destination: Destination
    sabotage: tuple[str, ...] = ()
    acknowledged: set[str] = field(default_factory=set[str])
    refused: int = 0
    kills: int = 0
    process: CollectorProcess | None = None
    padding: str = ""
    disk: Path | None = None
    """Where queue and audit files are, if not in the folder."""
    _number: int = 0

    def start(self) -> CollectorProcess:
        """Start the Collector, the same folders and ports as before."""
        process = self.made()
        process.start()
        return process

    def made(self) -> CollectorProcess:
        """A Collector that is not started; the rig's own, which its user ends whatever happens."""
        overlays: list[Path] = []
        for number, text in enumerate((*self.route.short, *self.sabotage)):
            path = self.folder / f"overlay{number}.yaml"
            path.write_text(text, encoding="utf-8")
            overlays.append(path)
        configs: list[str | Path] = [*self.route.configs, *overlays]
        places = {
            f"KAIZEN_OTEL_{name.upper()}_DIR": str((self.disk or self.folder) / name)
            for name in ("queue", "audit")
        }
        environment = {**self.destination.environment(), **places}
        self.process = collector(self.binary, self.folder, configs, **environment)
        return self.process

    def kill(self, process: CollectorProcess) -> None:
        """SIGKILL, counted."""
        process.kill()
        self.kills += 1

    def offer(self, count: int = 1) -> None:
        """Send so many requests of one item each."""
        for _ in range(count):
            self._number += 1
            name = f"item_{self._number}"
            assert self.process is not None
            port = self.process.audit_port if self.route.is_audit else self.process.http_port
            body = self._request(name)
            if Sender(port).post(self.route.signal, body):
                self.acknowledged.add(name)
            else:
                self.refused += 1

    def _request(self, name: str) -> dict[str, Any]:
        padding = {"padding": self.padding}
        match self.route.signal:
            case "traces":
                return span(name, padding)
            case "metrics":
                return counter(name, 1, padding)
            case _:
                return logs(name, attributes=padding)

    @contextmanager
    def offering(self) -> Iterator[None]:
        """Send all the time."""
        stopped = threading.Event()

        def work() -> None:
            while not stopped.is_set():
                self.offer()

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            stopped.set()
            worker.join()

    def found(self) -> Counter[str]:
        """What is where it belongs."""
        if not self.route.is_audit:
            names = self.destination.found
            return Counter({n: c for n, c in list(names.items()) if n.startswith("item_")})
        paths = sorted(((self.disk or self.folder) / "audit").glob("*.jsonl"))
        return Counter(body for path in paths for body in bodies_of_whole_lines(path))

    def settle(self, *, patience_s: float = _PATIENCE_S) -> Outcome:
        """The destination is there again: wait for what is missing, then count."""
        self.destination.is_away = False
        wait_until(lambda: self.acknowledged <= set(self.found()), seconds=patience_s)
        assert self.process is not None
        self.process.stop()
        found = self.found()
        return Outcome(
            acknowledged=len(self.acknowledged),
            refused=self.refused,
            lost=len(self.acknowledged - set(found)),
            duplicated=sum(found.values()) - len(found),
            kills=self.kills,
        )


def outage(rig: Rig, *, count: int = 30) -> None:
    """The destination is away, beyond every official limit, and comes back."""
    rig.start()
    rig.offer(count)
    rig.destination.is_away = True
    rig.offer(count)
    assert wait_until(lambda: rig.destination.attempts_while_away >= rig.route.tries)


def kills(rig: Rig, *, times: int = 3, seed: int = 5) -> None:
    """SIGKILL while requests come, the destination there and away in turns."""
    chance = random.Random(seed)
    for turn in range(times):
        rig.destination.is_away = turn % 2 == 1
        process = rig.start()
        with rig.offering():
            wanted = len(rig.acknowledged) + chance.randrange(10, 60)
            assert wait_until(lambda wanted=wanted: len(rig.acknowledged) >= wanted)  # type: ignore[misc]
            rig.kill(process)
    rig.start()


def kills_while_starting(
    rig: Rig, *, times: int = 10, count: int = 60, seed: int = 5, longest_s: float = 0.6
) -> None:
    """SIGKILL while the queue starts with what waits in it, again and again.

    The stock queue takes what was on its way out of its file and puts it back, item by item.  Every
    other kill comes while it does that, as its log says; those between at any moment of a start.
    """
    chance = random.Random(seed)
    process = rig.start()
    rig.destination.is_away = True
    rig.offer(count)
    assert wait_until(lambda: rig.destination.attempts_while_away > 0)
    rig.kill(process)
    for turn in range(times):
        process = rig.made()
        size_before = process.log_path.stat().st_size
        starter = threading.Thread(target=_start_or_die, args=(process,))
        starter.start()
        assert wait_until(lambda process=process: process.pid is not None)  # type: ignore[misc]
        if turn % 2 == 0:
            _wait_for_the_moment(process.log_path, size_before)
            time.sleep(chance.uniform(0, _PUTTING_BACK_S))
        else:
            time.sleep(chance.uniform(0, longest_s))
        rig.kill(process)
        starter.join()
    rig.start()


def _wait_for_the_moment(log: Path, size_before: int) -> None:
    """Until the queue takes what was on its way out of its file, or had nothing to take."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        with log.open("rb") as file:
            file.seek(size_before)
            said = file.read()
        if b"Fetching items left for dispatch" in said or b"Everything is ready" in said:
            return
        time.sleep(0.001)


def _start_or_die(process: CollectorProcess) -> None:
    with suppress(SetupError):
        process.start()


def stops(rig: Rig, *, times: int = 3, count: int = 20) -> None:
    """SIGTERM while the destination is away."""
    rig.destination.is_away = True
    for _ in range(times):
        process = rig.start()
        before = rig.destination.attempts_while_away
        rig.offer(count)
        if not rig.route.is_audit:
            assert wait_until(lambda b=before: rig.destination.attempts_while_away > b)  # type: ignore[misc]
        process.stop()
    rig.start()


def reloads(rig: Rig, *, times: int = 3) -> None:
    """SIGHUP while requests come: the Collector ends its pipelines and starts them again."""
    process = rig.start()
    # Its log says this once the signal is listened for.
    assert wait_until(lambda: "Everything is ready" in process.log_path.read_text())
    with rig.offering():
        for turn in range(1, times + 1):
            wanted = len(rig.acknowledged) + 10
            assert wait_until(lambda wanted=wanted: len(rig.acknowledged) >= wanted)  # type: ignore[misc]
            assert process.pid is not None
            os.kill(process.pid, signal.SIGHUP)
            assert wait_until(
                lambda turn=turn: process.log_path.read_text().count("Everything is ready") > turn  # type: ignore[misc]
            ), process.log_tail()
        wanted = len(rig.acknowledged) + 10
        assert wait_until(lambda: len(rig.acknowledged) >= wanted)


def disk_full(rig: Rig, *, refusals: int = 20, attempts: int = 3_000) -> None:
    """The folder's file system fills until requests are refused; then there is room again."""
    rig.padding = "x" * 20_000
    rig.destination.is_away = True
    rig.start()
    for _ in range(attempts):
        rig.offer()
        if rig.refused >= refusals:
            break
    assert rig.refused, "the disk was never full"


def upgrade(rig: Rig, newer: Path, *, count: int = 60) -> None:
    """A Collector stops with something in its queue; one of another version takes over."""
    rig.destination.is_away = True
    process = rig.start()
    rig.offer(count)
    if not rig.route.is_audit:
        assert wait_until(lambda: rig.destination.attempts_while_away > 0)
    process.stop()
    rig.binary = newer
    rig.start()
    rig.offer(count)
