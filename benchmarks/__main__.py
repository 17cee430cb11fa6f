# ruff: noqa: INP001 - run with `python -m benchmarks`
"""What telemetry costs: every figure with its bar, peers side by side, in one interleaved run."""

from __future__ import annotations

import sys

from benchmarks.telemetry_bench.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
