"""The way to the receiver breaks: every answer that is no yes, no answer, partitions, an hour down.

    python -m tests.campaigns.network [--scale full]

Real sockets and the real shipper; only the hour goes by a clock that is turned.  A3: 0 lost, and
what arrives more than once is the same record by its id.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Retryable
from kaizen_otel._spool.store import open_or_explain
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.testing.memory_filesystem import MemoryFilesystem
from tests.campaigns.kit import ROOT, Tally, Unavailable, finish, new_directory, scale_arguments
from tests.campaigns.receiver import BEHAVIOURS, Receiver
from tests.campaigns.saboteurs import TRANSPORTS
from tests.unit._spool.spool_kit import Receiver as MemoryReceiver
from tests.unit._spool.spool_kit import (
    TurnedClock,
    make_shipper,
    make_spool,
    payload,
    run_until_idle,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._export import Transport
    from kaizen_otel.audit_trail import Receipt

_FLUSH_MS: Final = 60_000
#: Addresses of TEST-NET-2 (RFC 5737): nobody else uses them.
_HERE, _THERE = "198.51.100.1", "198.51.100.2"


class Agent:
    """A manager with a spool of its own that sends to a receiver."""

    def __init__(self, url: str, *, sabotage: str = "", timeout_ms: int = 300) -> None:
        self.directory = new_directory()
        self.warnings: list[str] = []
        self.acknowledged: list[str] = []
        config = Config.from_environment(
            {
                "KAIZEN_OTEL_SPOOL_DIR": str(self.directory),
                "KAIZEN_OTEL_AUDIT_ENDPOINT": url,
                "OTEL_EXPORTER_OTLP_TIMEOUT": str(timeout_ms),
            }
        )
        transport: Transport | None = None
        if sabotage:
            endpoint = open_or_explain(config.audit.endpoint, clock=SystemClock())
            transport = TRANSPORTS[sabotage](endpoint)
        self.manager = AuditTrailManager(
            config=config, transport=transport, warn=self.warnings.append
        )

    def record(self, count: int, *, at_once: int = 8) -> None:
        """Record so many, of which a few wait for the disk together."""
        left = count
        while left > 0:
            receipts = [self._one() for _ in range(min(left, at_once))]
            self.acknowledged += [one.record_id for one in receipts if one.wait(30)]
            left -= len(receipts)

    def end(self, tally: Tally, taken: list[str], where: str) -> None:
        """Deliver the rest; compare what was acknowledged with what the receiver said yes to."""
        if not self.manager.flush(_FLUSH_MS):
            tally.lose(1, f"{where}: not delivered in {_FLUSH_MS} ms")
        status = self.manager.status()
        tally.count("acknowledged", len(self.acknowledged))
        tally.count("duplicates", len(taken) - len(set(taken)))
        tally.lose(len(set(self.acknowledged) - set(taken)), where)
        tally.lose(status.quarantined + status.gaps, f"{where}: set aside or gaps")
        self.manager.shutdown(5_000)
        shutil.rmtree(self.directory)

    def _one(self) -> Receipt:
        return self.manager.record("qa", "tool_execute", {"tool_name": "t"}, "success")


def misbehave(
    *, rounds: int, records: int, seed: int = 5, sabotage: str = "", only: str = "", bad: int = 4
) -> Tally:
    """Each behaviour on its own (``bad`` times), then all mixed, while records come."""
    tally = Tally(f"a receiver that misbehaves{sabotage and ', ' + sabotage}")
    chance = random.Random(seed)
    plans: list[tuple[str, ...]] = [(one,) for one in BEHAVIOURS] if not only else [(only,)]
    if not only:
        plans += [BEHAVIOURS] * rounds
    for number, plan in enumerate(plans, 1):
        with Receiver() as receiver:
            steps = iter(range(bad if len(plan) == 1 else 30))

            def choose(plan: tuple[str, ...] = plan, steps: Iterator[int] = steps) -> str:
                is_bad = chance.random() < 0.7 and next(steps, None) is not None
                return chance.choice(plan) if is_bad else chance.choice(["well", "warning"])

            receiver.choose = choose
            agent = Agent(receiver.url, sabotage=sabotage)
            agent.record(records)
            agent.end(tally, receiver.ids, " or ".join(plan)[:60])
            tally.count("requests", receiver.requests)
        tally.progress(number, len(plans))
    return tally


def down(*, times: int, records: int) -> Tally:
    """Nothing listens; then the receiver is there, on the same port, and goes again."""
    tally = Tally("a receiver that comes and goes")
    with Receiver() as first:
        port, taken = first.server_port, first.ids
        agent = Agent(first.url)
        agent.record(records)
        agent.manager.flush(_FLUSH_MS)
    for number in range(1, times + 1):
        agent.record(records)
        with Receiver(port=port) as again:
            agent.record(records)
            if number == times:
                agent.manager.flush(_FLUSH_MS)
            else:
                time.sleep(0.05 * number)
        taken += again.ids
        tally.count("outages")
        tally.progress(number, times)
    with Receiver(port=port) as last:
        agent.end(tally, taken + last.ids, "down")
    return tally


def forget(*, times: int, records: int) -> Tally:
    """The receiver's machine loses power: what came in the last seconds is gone from it.

    It is back before anything is sent to it, so that only the connection tells.
    """
    tally = Tally("a receiver that loses its memory")
    for number in range(1, times + 1):
        with Receiver() as receiver:
            agent = Agent(receiver.url)
            agent.record(records)
            agent.manager.flush(_FLUSH_MS)
            kept = len(receiver.ids) // 3
            tally.count("forgotten", len(receiver.forget(kept)))
            agent.record(1)
            agent.manager.flush(_FLUSH_MS)
            deadline_s = time.monotonic() + 20
            while time.monotonic() < deadline_s:
                if set(agent.acknowledged) <= set(receiver.ids):
                    break
                time.sleep(0.01)
            agent.end(tally, receiver.ids, "after a loss of power")
        tally.progress(number, times)
    return tally


def partition(*, times: int, seed: int = 5) -> Tally:
    """A receiver in a network of its own; the way to it drops every packet now and then."""
    tally = Tally("partitions")
    chance = random.Random(seed)
    with _far_away() as (url, taken_path):
        agent = Agent(url, timeout_ms=500)
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                agent.record(2)
                stop.wait(0.005)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for number in range(1, times + 1):
                time.sleep(chance.uniform(0.1, 0.5))
                rules = [_drop("INPUT", "-s"), _drop("OUTPUT", "-d")]
                if number % 3 == 0:
                    rules = rules[:1]  # one direction only: requests arrive, answers do not
                for rule in rules:
                    _run("iptables", "-I", *rule)
                time.sleep(chance.uniform(0.1, 2.0))
                for rule in rules:
                    _run("iptables", "-D", *rule)
                tally.count("partitions")
                tally.progress(number, times)
        finally:
            stop.set()
            worker.join(60)
        if not agent.manager.flush(_FLUSH_MS):
            tally.lose(1, "not delivered in time")
        agent.end(tally, taken_path.read_text().split(), "partition")
    return tally


def hour(*, seconds: int, per_second: int = 100) -> Tally:
    """The receiver is away for so long, by a clock that is turned; then everything arrives."""
    tally = Tally("a Collector that is down for an hour")
    clock, filesystem = TurnedClock(), MemoryFilesystem()
    spool = make_spool(filesystem, clock)
    receiver = MemoryReceiver()
    warnings: list[str] = []
    shipper = make_shipper(filesystem, spool, receiver, clock, warnings=warnings)
    receiver.refuses = lambda _: Retryable(reason="unreachable", message="down")
    wanted: set[str] = set()
    for second in range(seconds):
        texts = [f"{second}.{number}" for number in range(per_second)]
        futures = [spool.append(payload(text, 300)) for text in texts]
        wanted |= {text for text, f in zip(texts, futures, strict=True) if f.result(30)}
        clock.turn(1)
        run_until_idle(shipper)
        tally.count("acknowledged", per_second)
        tally.progress(second + 1, seconds)
    tally.count("attempts while down", len(receiver.sizes))
    tally.lose(len(warnings) != 1, f"one warning was wanted: {warnings}")
    tally.count("spool bytes", spool.bytes_used)
    receiver.refuses = lambda _: None
    clock.turn(11)
    for _ in range(3):
        run_until_idle(shipper, steps_max=100_000)
        clock.turn(61)
    tally.count("requests", len(receiver.sizes) - tally.counts["attempts while down"])
    tally.lose(len(wanted - set(receiver.taken)), "after an hour")
    tally.count("duplicates", len(receiver.taken) - len(set(receiver.taken)))
    tally.lose(receiver.taken[: len(wanted)] != _in_order(seconds, per_second), "out of order")
    tally.progress(seconds, seconds)
    return tally


def _in_order(seconds: int, per_second: int) -> list[str]:
    return [f"{second}.{number}" for second in range(seconds) for number in range(per_second)]


@contextmanager
def _far_away() -> Iterator[tuple[str, Path]]:
    """A receiver in another network namespace: its URL, and the file with what it took."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "iptables"))):
        raise Unavailable("platform: partitions need root, ip and iptables")
    name = f"kaizen{os.getpid()}"
    ours, theirs = f"kzh{os.getpid()}"[:15], f"kzn{os.getpid()}"[:15]
    folder = new_directory()
    taken = folder / "taken"
    taken.touch()
    try:
        _run("ip", "netns", "add", name)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"platform: no network namespaces: {error.stderr!r}") from error
    try:
        _run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs)
        _run("ip", "link", "set", theirs, "netns", name)
        _run("ip", "addr", "add", f"{_HERE}/30", "dev", ours)
        _run("ip", "link", "set", ours, "up")
        inside = ("ip", "netns", "exec", name)
        _run(*inside, "ip", "addr", "add", f"{_THERE}/30", "dev", theirs)
        _run(*inside, "ip", "link", "set", theirs, "up")
        with subprocess.Popen(
            [*inside, sys.executable, "-m", "tests.campaigns.receiver", _THERE, str(taken)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            yield process.stdout.readline().decode().strip(), taken
            process.terminate()
    finally:
        subprocess.run(["ip", "link", "del", ours], capture_output=True, check=False)
        _run("ip", "netns", "del", name)
        shutil.rmtree(folder)


def _drop(chain: str, side: str) -> list[str]:
    return [chain, side, _THERE, "-j", "DROP"]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def campaigns(scale: str, seed: int) -> list[Tally]:
    """All of them; partitions are left out, with a note, where that is refused."""
    is_full = scale == "full"
    tallies = [
        misbehave(rounds=20 if is_full else 2, records=200 if is_full else 60, seed=seed),
        down(times=20 if is_full else 3, records=100),
        forget(times=20 if is_full else 3, records=300),
        hour(seconds=3600 if is_full else 120),
    ]
    try:
        tallies.append(partition(times=20 if is_full else 3, seed=seed))
    except Unavailable as reason:
        tallies.append(Tally("partitions", notes=[str(reason)]))
    return tallies


if __name__ == "__main__":
    asked = scale_arguments(__doc__).parse_args()
    sys.exit(finish(campaigns(asked.scale, asked.seed)))
