"""Real Kaizen agents, the examples and the demo, through the real Collector."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaizen_otel.integrations import kaizen
from tests.e2e import capture
from tests.kaizen.agents import tool_agent

if TYPE_CHECKING:
    from kaizen_otel._collector.obtain import Obtained
    from tests.e2e.world import World

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_delivers_everything(world: World, path: Path) -> None:
    assert world.collector.running()
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    (ledger,) = [line for line in done.stdout.splitlines() if "delivered" in line]
    assert re.match(r"[1-9]\d* spans, [1-9]\d* logs, [1-9]\d* metrics delivered, 0 dropped", ledger)


def test_there_are_the_three_examples_of_the_seed() -> None:
    names = [path.name for path in EXAMPLES]
    assert names == ["01_basic_tracing.py", "02_multi_agent_tracing.py", "03_custom_events.py"]


def test_the_demo_prints_all_four_signals_read_back_from_the_files(
    binary: Obtained, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from kaizen_otel._cli import main; main()", "demo"],
        env={
            **os.environ,
            "XDG_STATE_HOME": str(tmp_path),
            "KAIZEN_OTEL_COLLECTOR": str(binary.path),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for title in ("Trace", "Metrics", "Logs", "Audit trail"):
        assert f"\n{title}\n" in done.stdout
    assert "└─ chat mock-model" in done.stdout
    assert "0 dropped; 11 of 11 audit records delivered" in done.stdout
    if os.environ.get("KAIZEN_OTEL_UPDATE_CAPTURE"):
        capture.keep(done.stdout)
    kept = capture.CAPTURE.read_text(encoding="utf-8")
    assert capture.masked(capture.shown(done.stdout)) == capture.masked(kept), (
        "README shows another output: run with KAIZEN_OTEL_UPDATE_CAPTURE=1"
    )


def test_the_one_liner_observes_a_real_agent_end_to_end(world: World) -> None:
    kaizen.install()
    try:
        agent = tool_agent()
        observed = agent.enable_observability(service_name="one-liner")
        agent.run(question="hi?", session_id="s1")
        assert observed.flush()
        instance = observed.instance_id
        agent.cleanup()
    finally:
        kaizen.uninstall()
    tree = world.tree(instance)
    assert tree["execute_tool search"] == "invoke_agent ToolAgent"
    assert tree["invoke_agent ToolAgent"] is None
    assert world.series(instance, "gen_ai.execute_tool.duration")
    assert {r["traceId"] for r in world.logs(instance)} == {
        s["traceId"] for s in world.spans(instance)
    }
    phases = [r["attributes"]["kaizen.audit.phase"] for r in world.audit(instance)
              if r["eventName"] == "kaizen.tool.execute"]  # fmt: skip
    assert sorted(phases) == ["intent", "outcome"]
