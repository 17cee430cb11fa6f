"""One measurement in a process of its own; the last line of its output is a JSON object.

python -m benchmarks.telemetry_bench.worker TASK     TASK is JSON (see ``runs``)
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys

WORKS = {
    "loop": "work_loops", "burst": "work_loops", "rate": "work_loops", "steady": "work_loops",
    "lag": "work_process", "memory": "work_process", "dead": "work_process",
    "exit": "work_process", "imports": "work_process",
    "pair": "work_hooks", "agent": "work_hooks",
}  # fmt: skip


def main(arguments: list[str]) -> None:
    """Do what ``TASK`` asks."""
    task = json.loads(arguments[0])
    logging.disable(logging.CRITICAL)
    home = importlib.import_module(f"benchmarks.telemetry_bench.{WORKS[task['work']]}")
    result = getattr(home, f"do_{task['work']}")(task)
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    sys.stdout.flush()
    if not result.get("leaves_by_itself"):
        # Whatever still runs was paid for by whoever started it: nothing is waited for.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
