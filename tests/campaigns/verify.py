"""How fast ``audit verify`` is and how much memory it takes, on trails of millions of records.

``python -m tests.campaigns.verify [RECORDS] [--per-line 1 64] [--signatures none last all]`` writes
trails with the generator of ``tests/trail/big_trail.py``, verifies each in a process of its own and
prints one JSON object; exit code 1 if a clean trail is not clean or the memory is over the bound.
Rates are per second of this process's processor time (the chain) or of the clock (signatures).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, cast

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._trail.verify import Settings, Sources, verify
from kaizen_otel.audit.trust import parse_trust
from kaizen_otel.audit.verify import SignatureMode
from tests.campaigns.kit import say
from tests.trail.big_trail import write_big_trail

MEMORY_MB_MAX: Final = 200
_MEGABYTE_KB: Final = 1000


def main() -> int:
    """Run the campaign, or with ``--one`` a single verification."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--per-line", nargs="*", type=int, default=[64, 1])
    parser.add_argument("--signatures", nargs="*", default=["none", "last", "all"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", metavar="FOLDER")
    asked = parser.parse_args()
    if asked.one:
        sys.stdout.write(json.dumps(_verify(Path(asked.one), asked.signatures[0], asked.jobs)))
        return 0
    results = []
    for per_line in asked.per_line:
        with tempfile.TemporaryDirectory() as name:
            say(f"writing {asked.records:,} records, {per_line} in a line")
            made = write_big_trail(Path(name), asked.records, per_line=per_line)
            for mode in asked.signatures:
                say(f"verifying {made.records:,} records, signatures: {mode}")
                results.append({"per_line": per_line, **_run(name, mode, asked.jobs)})
    faults = [one for one in results if one["exit_code"] or one["memory_mb"] > MEMORY_MB_MAX]
    sys.stdout.write(
        json.dumps({"campaign": "verify", "results": results, "faults": len(faults)}, indent=2)
    )
    return 1 if faults else 0


def _run(folder: str, mode: str, jobs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.campaigns.verify", "--one", folder]
    command += ["--signatures", mode, "--jobs", str(jobs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return cast("dict[str, float]", json.loads(done.stdout))


def _verify(folder: Path, mode: str, jobs: int) -> dict[str, object]:
    trust = parse_trust((folder / "trust.json").read_bytes(), source="trust.json")
    started, processor = time.perf_counter(), time.process_time()
    verdict = verify(
        Sources(trails=(str(folder / "trail"),)),
        settings=Settings(trust=trust, mode=cast("SignatureMode", mode), jobs=jobs),
        filesystem=OsFilesystem(),
    )
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    return {
        "signatures": mode,
        "records": verdict.records,
        "exit_code": verdict.exit_code,
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "records_per_processor_second": round(verdict.records / processor),
        "records_per_second": round(verdict.records / seconds),
        "memory_mb": _memory_kb() / _MEGABYTE_KB,
    }


def _memory_kb() -> int:
    """The most memory that this process had; Linux counts its parent's in ``ru_maxrss``."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    sys.exit(main())
