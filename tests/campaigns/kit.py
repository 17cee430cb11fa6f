"""What the fault campaigns share: counting, processes to be killed, reading what survived."""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._export import Delivered, Outcome, Signal
from kaizen_otel._otlp.decode import decode_logs_request
from kaizen_otel._otlp.json import iter_log_records
from kaizen_otel._spool.files import segment_paths, stream_ids
from kaizen_otel._trail.verify import Settings, Sources, verify
from kaizen_otel.audit._stored import Report, read_segment, read_trail
from kaizen_otel.audit.query import stored_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

ROOT: Final = Path(__file__).parents[2]
# KeyValue{key: "audit.record.id", value: AnyValue{string_value: 36 bytes}}
_RECORD_ID: Final = re.compile(rb"audit\.record\.id\x12.\x0a\x24([0-9a-f-]{36})", re.DOTALL)
_LOSSES_SHOWN: Final = 20
_LOOK_S: Final = 0.05
#: Begins the last moment of a victim, whose power is cut; see ``power``.
MARK: Final = "cutting"
_BEGIN_S: Final = 60
_END_S: Final = 120


@dataclass
class Tally:
    """One campaign's result: counts, and every loss in words (a bounded number of them)."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    lost: int = 0
    notes: list[str] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)
    seconds: float = 0

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def lose(self, count: int, where: str) -> None:
        """Note acknowledged records that are gone, or another broken promise; 0 is none."""
        self.lost += count
        if count and len(self.losses) < _LOSSES_SHOWN:
            self.losses.append(f"{count}: {where}")
            say(f"{self.name}: LOST {self.losses[-1]}")

    def progress(self, done: int, wanted: int) -> None:
        """Say on stderr how far it is, about ten times."""
        self.seconds = time.monotonic() - self.started_s
        if done == wanted or done % max(1, wanted // 10) == 0:
            text = ", ".join(f"{key} {value}" for key, value in self.counts.items())
            say(f"{self.name}: {done}/{wanted}  {text}, lost {self.lost}")

    def as_json(self) -> dict[str, object]:
        return {
            "campaign": self.name,
            "counts": self.counts,
            "lost": self.lost,
            "losses": self.losses,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }


class Unavailable(Exception):  # noqa: N818 - no fault: this machine cannot run the campaign
    """The machine lacks what a campaign needs; the text begins with ``platform:``."""


def say(text: str) -> None:
    """Tell the person who waits."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def finish(tallies: list[Tally]) -> int:
    """Print the results as JSON; 1 if anything was lost."""
    sys.stdout.write(json.dumps([tally.as_json() for tally in tallies], indent=2) + "\n")
    return int(any(tally.lost for tally in tallies))


def scale_arguments(description: str | None) -> argparse.ArgumentParser:
    """The arguments of every campaign: ``--scale small|full`` and ``--seed``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--seed", type=int, default=5)
    return parser


def new_directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="kaizen-otel-campaign-"))


def ids_in_spool(directory: Path) -> set[str]:
    """Ids of all records that a next process finds; damage in them is a fault of its own."""
    filesystem, report, found = OsFilesystem(), Report(), set[str]()
    for stream_id in stream_ids(filesystem, str(directory)):
        for path in segment_paths(filesystem, str(directory / stream_id)):
            segment = read_segment(filesystem, path, report=report)
            payloads = [e.payload for e in segment.entries if not e.is_resource] if segment else []
            # Decoding all of it would take ten times as long as writing it.
            matches = [_RECORD_ID.search(payload) for payload in payloads]
            found |= {match[1].decode() for match in matches if match is not None}
    if report.problems:
        raise AssertionError(report.problems)
    return found


def ids_in_trail(directory: Path) -> list[str]:
    """Ids of all records of a trail, one for each time it is there."""
    return [record.record_id for record in read_trail(OsFilesystem(), str(directory))]


def ids_in_request(body: bytes) -> list[str]:
    found = [
        stored_record(record, resource)
        for record, resource in iter_log_records(decode_logs_request(body))
    ]
    return [record.record_id for record in found if record is not None]


def judge(
    tally: Tally,
    where: str,
    *,
    spool: Path | None = None,
    trail: Path | None = None,
    allowed: tuple[str, ...] = ("unsigned_tail",),
) -> None:
    """Verify what is left as an auditor would: chains, links, signatures.

    Tampering is never there; of what is incomplete only the ``allowed`` kinds are: a write that
    is cut short leaves the first part of a batch, without the record that signs it.
    """
    sources = Sources(
        spools=() if spool is None else (str(spool),),
        trails=() if trail is None else (str(trail),),
    )
    verdict = verify(sources, settings=Settings(), filesystem=OsFilesystem())
    if not verdict.records:
        return  # stopped before its first record
    tally.count("verified", verdict.records)
    for (kind, severity), count in verdict.counts.items():
        if severity == "tampering" or (severity == "incomplete" and kind not in allowed):
            tally.lose(count, f"{where}: {severity} {kind}")
        elif severity == "incomplete":
            tally.count(f"{kind} in a trail", count)


class Collecting:
    """A transport that takes everything and remembers the ids."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.description = "memory"

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        del signal, deadline_ns
        self.ids += ids_in_request(body)
        return Delivered()

    def close(self) -> None:
        """Nothing is open."""


class Zygote:
    """A process that forks victims, so that what they import is loaded once.

    An order is a dictionary that ``tests.campaigns.victim`` understands.  What a victim says is
    in single writes of whole lines, all of them before the line that tells its end.
    """

    def __init__(self, prefix: tuple[str, ...] = ()) -> None:
        """``prefix`` is a program that runs another one, such as strace."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.campaigns.victim"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._rest = b""

    def run(
        self,
        order: dict[str, Any],
        *,
        kill_after_s: float | None = None,
        from_word: str = "pid",
        at_end: Callable[[int], None] | None = None,
        while_running: Callable[[float], None] | None = None,
    ) -> list[str]:
        """Run one victim, kill it so long after it has said that word; the lines that it said.

        Without a ``from_word`` the time begins with the first thing it says.
        ``at_end`` is called with its process id at the moment of the kill, instead of it, and
        what was said before stands before the line ``MARK``; ``while_running`` again and again,
        with the seconds since it was forked.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        pid, since_s, lines = 0, time.monotonic() + _BEGIN_S, list[str]()
        deadline_s = since_s + _END_S
        while time.monotonic() < deadline_s:
            due_s = _LOOK_S if kill_after_s is None else since_s + kill_after_s - time.monotonic()
            for line in self._read(max(0.0, min(due_s, _LOOK_S))):
                word, _, text = line.partition(" ")
                if word == from_word or (not from_word and word != "pid" and not lines):
                    since_s = time.monotonic()
                if word == "gone":
                    return lines
                if word == "pid":
                    pid = int(text)
                else:
                    lines.append(line)
                if word == "cut":
                    # A moment longer: nothing may be acknowledged without power.
                    kill_after_s, at_end = time.monotonic() - since_s + _LOOK_S, None
            if pid and while_running is not None:
                while_running(time.monotonic() - since_s)
            if pid and kill_after_s is not None and time.monotonic() >= since_s + kill_after_s:
                kill_after_s = None
                if at_end is not None:
                    lines += self._drain()
                (at_end or _kill)(pid)
        raise AssertionError(f"the victim does not end: {self.errors()}")

    def _drain(self) -> list[str]:
        """Read what was said up to now, and put the mark behind it."""
        said: list[str] = []
        while more := self._read(0):
            said += more
        return [*said, MARK]

    def errors(self) -> str:
        """What victims wrote to their standard error, its end."""
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")[-2000:]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, timeout_s: float) -> list[str]:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        if not select.select([handle], [], [], timeout_s)[0]:
            return []
        data = os.read(handle, 1 << 20)
        if not data:
            raise AssertionError(f"the process that forks victims ended: {self.errors()}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in lines]


def _kill(pid: int) -> None:
    os.kill(pid, 9)
