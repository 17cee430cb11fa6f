"""Where our own time goes: ``--profile ROW``, by py-spy if it is there, else by cProfile."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.telemetry_bench import environments
from benchmarks.telemetry_bench.harness import running_sink, worker_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.telemetry_bench.rows import Row

_SHOWN: Final = 25
_RATE: Final = 500
_WORKER: Final = "benchmarks.telemetry_bench.worker"


def hottest(stacks: Iterable[str]) -> Iterator[str]:
    """The functions in which most samples were taken, of stacks as ``a;b;c 12``."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in stacks:
        text, _, amount = line.rpartition(" ")
        if not amount.strip().isdigit():
            continue
        frames = text.split(";")
        own[frames[-1]] += int(amount)
        for frame in set(frames):
            below[frame] += int(amount)
    total = own.total() or 1
    yield f"{'itself':>7} {'with all it calls':>18}  function ({total} samples)"
    for name, count in own.most_common(_SHOWN):
        yield f"{count / total:>7.1%} {below[name] / total:>18.1%}  {name}"


def main(row: Row, say: Callable[[str], None], *, install: bool) -> int:
    """Profile our case of one row."""
    if row.profile is None:
        say(f"{row.name} has nothing to profile: its figures are about waiting")
        return 2
    one = row.profile
    with running_sink() as sink, tempfile.TemporaryDirectory() as folder:
        arguments = dict(one.arguments)
        sink.clear(arguments.get("delay_ms", 0))
        task = {"contender": one.contender, "work": one.work, "door": one.door,
                "http": sink.http, "grpc": sink.grpc, "folder": folder, **arguments}  # fmt: skip
        output = Path(folder, "profile")
        worker = ["-m", _WORKER, json.dumps(task)]
        profiler = environments.obtain("profiler", install=install, say=say)
        spy = "" if profiler.missing else str(Path(profiler.python).with_name("py-spy"))
        say(f"profiling {one.label} by {'py-spy' if spy else 'cProfile (emitting thread only)'}")
        command = [sys.executable, *worker]
        if spy:
            options = [
                "--format",
                "raw",
                "--rate",
                str(_RATE),
                "--threads",
                "--function",
                "--nonblocking",
            ]
            command = [spy, "record", *options, "--output", str(output), "--", *command]
        else:
            command = [sys.executable, "-m", _PROFILED, str(output), json.dumps(task)]
        code = subprocess.run(  # noqa: S603 - ourselves, or the profiler found on PATH
            command,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            env=worker_environment(Path(folder)),
            check=False,
        ).returncode
        if not output.exists():
            say(f"the profiler ended with {code} and wrote nothing")
            return 1
        lines = hottest(output.read_text().splitlines()) if spy else _by_cprofile(output)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


_PROFILED: Final = "benchmarks.telemetry_bench.profiled"


def _by_cprofile(output: Path) -> Iterator[str]:
    import io
    import pstats

    text = io.StringIO()
    pstats.Stats(str(output), stream=text).sort_stats("tottime").print_stats(_SHOWN)
    yield from text.getvalue().splitlines()
