"""What a whole process looks like: without us, and after the last agent was cleaned up."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import sys, threading
sys.path.insert(0, {path!r})
from tests.kaizen.agents import tool_agent
{before}
agent = tool_agent()
agent.run(question="hi", session_id="s1")
agent.cleanup()
ours = sorted(name for name in sys.modules if name.split(".")[0] == "kaizen_otel")
threads = [thread.name for thread in threading.enumerate()]
print("MODULES", ours)
print("THREADS", threads)
"""


def outcome(before: str = "") -> tuple[str, str]:
    program = PROGRAM.format(path=sys.path[0] or ".", before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    lines = dict(
        line.split(" ", 1)
        for line in done.stdout.splitlines()
        if line.startswith(("MODULES", "THREADS"))
    )
    return lines["MODULES"], lines["THREADS"]


def test_an_agent_that_never_asks_loads_none_of_our_modules_and_no_thread() -> None:
    assert outcome() == ("[]", "['MainThread']")


def test_importing_the_package_loads_the_package_only() -> None:
    modules, threads = outcome("import kaizen_otel")
    assert modules == "['kaizen_otel', 'kaizen_otel._version']"
    assert threads == "['MainThread']"


def test_decorating_without_observing_loads_no_pipeline_and_no_thread() -> None:
    modules, threads = outcome(
        "import kaizen_otel\n@kaizen_otel.traced_tool\ndef f(): return 1\nassert f() == 1"
    )
    assert "kaizen_otel.observability" not in modules
    assert "kaizen_otel._export" not in modules
    assert threads == "['MainThread']"


CLEANED_UP = """
import sys, threading
sys.path.insert(0, {path!r})
from tests.kaizen.agents import tool_agent
from kaizen_otel import observability
from kaizen_otel.integrations import kaizen
agents = [tool_agent(), tool_agent()]
for agent in agents:
    kaizen.enable_observability(agent, enable_audit=False)
pipeline = observability.process_pipeline()
agents[0].run(question="hi")
agents[0].cleanup()
assert observability.process_pipeline() is pipeline
kaizen.enable_observability(agents[1], enable_audit=False)
assert observability.process_pipeline() is pipeline
agents[1].run(question="hi")
agents[1].cleanup()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(60)  # it may still wait for an answer when the time for cleaning up is over
print("THREADS", [thread.name for thread in threading.enumerate()])
assert observability.process_pipeline() is not pipeline
"""


def test_the_last_cleanup_stops_the_pipeline_and_its_thread() -> None:
    """Nothing listens at the endpoint: the agents still run, and clean-up keeps its time."""
    done = subprocess.run(
        [sys.executable, "-c", CLEANED_UP.format(path=sys.path[0] or ".")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    )
    assert "THREADS ['MainThread']" in done.stdout


CLIENT_LATER = """
import sys
sys.path.insert(0, {path!r})
from tests.kaizen.agents import scripted_agent
from tests.unit.integrations.recorder import RecordingManager
from kaizen_otel.integrations import kaizen

async def script(*_):
    from tests.kaizen.test_models import client, complete  # loads Kaizen's client
    return {{"answer": (await complete(client()))["text"]}}

recording = RecordingManager()
agent = scripted_agent(script)
kaizen.enable_observability(agent, manager=recording.manager)
loaded = [name for name in ("kaizen.llm.client", "httpx") if name in sys.modules]
agent.run(question="hi")
print("LOADED", loaded)
print("SPANS", recording.operations.trees())
"""


def test_enabling_does_not_load_the_client_and_its_first_call_is_recorded_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT_LATER.format(path=sys.path[0] or ".")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "LOADED []" in done.stdout
    assert "SPANS [('invoke_agent ToolAgent', ['chat gpt-4o'])]" in done.stdout
