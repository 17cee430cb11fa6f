"""Where our own time goes: ``--profile ROW``, by py-spy if it is there, else by cProfile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench import environments
from benchmarks.telemetry_bench.harness import running_sink, worker_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.telemetry_bench.harness import Case
    from benchmarks.telemetry_bench.rows import Row

    Say = Callable[[str], None]

_SHOWN: Final = 25
_TOLD: Final = 10
_THREAD: Final = re.compile(r"kaizen-otel-\w+")
_RATE: Final = 500
_WORKER: Final = "benchmarks.telemetry_bench.worker"


def hottest(stacks: Iterable[str], count: int = _SHOWN) -> Iterator[tuple[float, float, str]]:
    """The functions in which most samples were taken, of stacks as ``a;b;c 12``.

    Each with its share of all samples, the share with all that it calls, and its name.
    """
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for frames, amount in _samples(stacks):
        own[frames[-1]] += amount
        for frame in set(frames):
            below[frame] += amount
    total = own.total() or 1
    for name, found in own.most_common(count):
        yield found / total, below[name] / total, name


def threads(stacks: Iterable[str]) -> list[tuple[float, str]]:
    """The share of all samples of each thread of ours, and of all others as ``agent``."""
    found: Counter[str] = Counter()
    for frames, amount in _samples(stacks):
        named = _THREAD.search(frames[0])
        found[named[0] if named else "agent"] += amount
    total = found.total() or 1
    return [(amount / total, name) for name, amount in found.most_common()]


def _samples(stacks: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    for line in stacks:
        text, _, amount = line.rpartition(" ")
        if amount.strip().isdigit():
            yield text.split(";"), int(amount)


def stacks_of(row: Row, say: Say, *, install: bool) -> list[str] | None:
    """Run our case of one row under py-spy; None if it is not to be had, or wrote nothing."""
    assert row.profile is not None
    profiler = environments.obtain("profiler", install=install, say=say)
    if profiler.missing:
        say(f"no profiler: {profiler.missing}")
        return None
    spy = str(Path(profiler.python).with_name("py-spy"))
    options = ("--format", "raw", "--rate", str(_RATE), "--threads", "--function", "--nonblocking")

    def command(output: Path, task: str) -> list[str]:
        worker = (sys.executable, "-m", _WORKER, task)
        return [spy, "record", *options, "--output", str(output), "--", *worker]

    output = _run(row.profile, command, say)
    return None if output is None else output.decode().splitlines()


def _run(one: Case, command: Callable[[Path, str], list[str]], say: Say) -> bytes | None:
    """Run a case against a sink; what its profiler wrote."""
    with running_sink() as sink, tempfile.TemporaryDirectory() as folder:
        arguments = dict(one.arguments)
        sink.clear(arguments.get("delay_ms", 0))
        task = {"contender": one.contender, "work": one.work, "door": one.door,
                "http": sink.http, "grpc": sink.grpc, "folder": folder, **arguments}  # fmt: skip
        output = Path(folder, "profile")
        say(f"profiling {one.label}")
        code = subprocess.run(  # noqa: S603 - ourselves, or the profiler that was installed
            command(output, json.dumps(task)),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            env=worker_environment(Path(folder)),
            check=False,
        ).returncode
        if not output.exists():
            say(f"the profiler ended with {code} and wrote nothing")
            return None
        return output.read_bytes()


def main(row: Row, say: Say, *, install: bool) -> int:
    """Profile our case of one row, and print."""
    if row.profile is None:
        say(f"{row.name} has nothing to profile: its figures are about waiting")
        return 2
    stacks = stacks_of(row, say, install=install)
    if stacks is None:
        say("by cProfile, the emitting thread only")
        return _by_cprofile(row.profile, say)
    for share, name in threads(stacks):
        sys.stdout.write(f"{share:>7.1%}  thread {name}\n")
    sys.stdout.write(f"{'itself':>7} {'with all it calls':>18}  function\n")
    for own, below, name in hottest(stacks):
        sys.stdout.write(f"{own:>7.1%} {below:>18.1%}  {name}\n")
    return 0


def summary(row: Row, say: Say, *, install: bool) -> dict[str, Any] | None:
    """What ``docs/benchmarks`` says of one row's profile; None if it could not be made."""
    stacks = stacks_of(row, say, install=install)
    if not stacks or row.profile is None:
        return None
    return {
        "row": row.name,
        "case": row.profile.label,
        "samples": sum(amount for _, amount in _samples(stacks)),
        "threads": threads(stacks),
        "functions": list(hottest(stacks, _TOLD)),
    }


_PROFILED: Final = "benchmarks.telemetry_bench.profiled"


def _by_cprofile(one: Case, say: Say) -> int:
    import pstats

    def command(output: Path, task: str) -> list[str]:
        return [sys.executable, "-m", _PROFILED, str(output), task]

    written = _run(one, command, say)
    if written is None:
        return 1
    with tempfile.NamedTemporaryFile() as file:
        file.write(written)
        file.flush()
        pstats.Stats(file.name, stream=sys.stdout).sort_stats("tottime").print_stats(_SHOWN)
    return 0
