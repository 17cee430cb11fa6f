"""Every encoder against opentelemetry-proto: what ours wrote means what the official classes say.

    python -m tests.campaigns.encoder [--count 100000] [--seed 0] [--json FILE]

Each input is drawn from its own number, so ``--seed`` and the number bring a failure back.  Both
messages must serialise to the same bytes.  Progress on stderr; exit code 1 if any differed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.campaigns.encoder_inputs import CHECKS
from tests.campaigns.kit import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.campaigns.encoder_inputs import Pair

FAILURES_SHOWN = 20


@dataclass
class Result:
    """How many inputs each encoder was given, and the first of those where it was wrong."""

    seed: int
    inputs: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(
    count: int,
    seed: int,
    *,
    checks: Mapping[str, Callable[[Random], Pair]] = CHECKS,
    progress: Callable[[int], None] = lambda _: None,
) -> Result:
    """Give ``count`` inputs to the encoders, in turn."""
    result, names = Result(seed), list(checks)
    began_s = time.monotonic()
    for index in range(count):
        name = names[index % len(names)]
        result.inputs[name] += 1
        try:
            found, expected = checks[name](Random(f"{seed}:{index}"))
            is_same = found.SerializeToString(deterministic=True) == expected.SerializeToString(
                deterministic=True
            )
            reason = "" if is_same else f"{found} is not {expected}"
        except Exception as error:  # noqa: BLE001 - an encoder that raises is a failure too
            reason = repr(error)
        if reason:
            result.failed[name] += 1
            if len(result.failures) < FAILURES_SHOWN:
                result.failures.append(f"{name}, input {index} of seed {seed}: {reason[:2000]}")
        progress(index + 1)
    result.seconds = time.monotonic() - began_s
    return result


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="also write the result to this file")
    arguments = parser.parse_args()
    step = max(arguments.count // 20, 1)

    def progress(done: int) -> None:
        if done % step == 0 or done == arguments.count:
            say(f"{done:,} of {arguments.count:,}")

    result = run(arguments.count, arguments.seed, progress=progress)
    for name, inputs in result.inputs.items():
        sys.stdout.write(f"{name:28} {inputs:8,} inputs {result.failed[name]:6,} wrong\n")
    sys.stdout.write(f"{'all':28} {arguments.count:8,} inputs {result.failed.total():6,} wrong\n")
    for failure in result.failures:
        sys.stdout.write(failure)
    if arguments.json:
        Path(arguments.json).write_text(
            json.dumps(vars(result), indent=1, ensure_ascii=True) + "\n", encoding="utf-8"
        )
    return int(result.failed.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
