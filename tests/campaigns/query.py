"""How long ``audit query`` takes for a moment of a trail of a million records.

``python -m tests.campaigns.query [RECORDS]`` writes a trail, drops what the kernel keeps of its
files before each question, and asks for a span of time, each time in a process of its own: without
an index, the first time (which makes it), and with it.  Each answer is compared with what is there.
Progress on stderr, one JSON object on stdout; exit code 1 if an answer was wrong.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.campaigns.kit import say
from tests.trail.big_trail import START_NS, STEP_NS, write_big_trail

#: How much is asked for, in records.
ASKED: Final = 1_000
PROGRAM: Final = str(Path(sys.executable).with_name("kaizen-otel"))


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="?", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"writing {asked.records:,} records")
        made = write_big_trail(folder, asked.records)
        start_ns = START_NS + made.records // 2 * STEP_NS
        span = (moment(start_ns), moment(start_ns + ASKED * STEP_NS))
        results = [
            measure(folder, span, kind) for kind in ("no index", "first", "index", "index again")
        ]
    counts = {one["found"] for one in results}
    # A stream writes records of its own between those of its agent, at the same times.
    is_right = len(counts) == 1 and ASKED * 0.9 <= counts.pop() <= ASKED * 1.1
    found = {"campaign": "query", "records": made.records, "results": results, "right": is_right}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if is_right else 1


def moment(time_ns: int) -> str:
    """An instant as people write it, to the microsecond."""
    return dt.datetime.fromtimestamp(time_ns / 1e9, dt.UTC).isoformat()


def measure(folder: Path, span: tuple[str, str], kind: str) -> dict[str, Any]:
    """Ask once, with nothing of the trail in the kernel's cache."""
    say(f"asking: {kind}")
    for path in (folder / "trail").iterdir():
        forget(path)
    command = [PROGRAM, "audit", "query", "--json", "--trail", str(folder / "trail")]
    command += ["--spool", str(folder / "none"), "--since", span[0], "--until", span[1]]
    command += ["--no-index"] if kind == "no index" else []
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "kind": kind,
        "found": len(found_in(done.stdout)),
        "seconds": round(seconds, 2),
        "processor_seconds": round(used, 2),
    }


def found_in(answer: bytes) -> list[Any]:
    """The records of an answer."""
    text = answer.decode().strip()
    if text.startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines()]


def forget(path: Path) -> None:
    """Drop what the kernel keeps of a file in memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
