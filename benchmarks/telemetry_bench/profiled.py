"""A worker under cProfile, which its own last act would else cut off."""

from __future__ import annotations

import cProfile
import json
import sys
from importlib import import_module

from benchmarks.telemetry_bench.worker import WORKS


def main(output: str, text: str) -> None:
    """Profile one task into ``output``."""
    task = json.loads(text)
    home = import_module(f"benchmarks.telemetry_bench.{WORKS[task['work']]}")
    profiler = cProfile.Profile()
    profiler.runcall(getattr(home, f"do_{task['work']}"), task)
    profiler.dump_stats(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
