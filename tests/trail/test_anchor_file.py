"""The anchor file on a real disk, shared by processes that know nothing of each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from kaizen_otel._otlp.json import iter_log_records

_ROOT = Path(__file__).parents[2]
_PROCESSES = 4

_PROGRAM = """
import sys
from kaizen_otel._export import Retryable
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config

class Nobody:
    description = "nobody"
    def send(self, signal, body, *, deadline_ns):
        return Retryable(reason="unreachable", message="nobody")
    def close(self):
        pass

root = sys.argv[1]
manager = AuditTrailManager(
    config=Config.from_environment(
        {"KAIZEN_OTEL_SPOOL_DIR": root + "/spool", "KAIZEN_OTEL_ANCHOR_FILE": root + "/anchors"}
    ),
    transport=Nobody(), warn=lambda _: None,
)
print("ready", flush=True)
sys.stdin.readline()
for number in range(300):
    receipt = manager.emit("kaizen.tool.execute", {})
assert receipt.wait(20)
if sys.argv[2] == "clean":
    manager.shutdown(200)
# Otherwise the interpreter's end is what ends the stream.
"""


def test_processes_share_one_file_of_whole_lines(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(tmp_path), "clean" if n % 2 else "exit"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(_PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    path = tmp_path / "anchors"
    assert path.stat().st_mode & 0o777 == 0o600
    events: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        [(record, _)] = iter_log_records(json.loads(line))
        [stream] = [
            attribute["value"]["stringValue"]
            for attribute in record["attributes"]  # type: ignore[attr-defined]
            if attribute["key"] == "audit.sequence.stream_id"
        ]
        events.setdefault(stream, []).append(str(record["eventName"]))
    assert len(events) == _PROCESSES
    for found in events.values():
        assert found[0] == "kaizen.audit.started"
        assert found[-1] == "kaizen.audit.stopped", "also at the interpreter's end"
        assert "kaizen.audit.checkpoint" in found
