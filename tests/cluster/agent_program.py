"""What the tests' agents run in their pods: audit records, and what became of each as JSON lines.

python agent_program.py COUNT PAUSE_S WAIT_S SIZE

With AGENT_HAS_METRICS in its environment it sends what an agent tells of its trail, too.
"""

import json
import os
import signal
import sys
import threading
import time

from kaizen_otel import AuditTrailManager, ObservabilityManager
from kaizen_otel.errors import AuditUnavailableError


def say(**what: object) -> None:
    """Print one line, for the pod's log."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def audit_trail() -> AuditTrailManager:
    """The agent's, alone or as a part of all that is observed."""
    if "AGENT_HAS_METRICS" not in os.environ:
        return AuditTrailManager()
    trail = ObservabilityManager("agent").audit
    assert trail is not None
    return trail


def write(manager: AuditTrailManager, number: int, wait_s: float, size: int) -> None:
    """Write one record and say what became of it."""
    metadata = {f"key-{index}": number for index in range(size)}
    receipt = manager.record("agent", "EXECUTE", {}, "success", metadata=metadata)
    try:
        is_safe, reason = receipt.wait(wait_s), receipt.reason
    except AuditUnavailableError as error:
        is_safe, reason = False, str(error)
    say(id=receipt.record_id, safe=is_safe, reason=reason)


def main() -> None:
    """Write the records, then live on until told to end; what is undelivered then stays so."""
    count, pause_s, wait_s, size = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), 1
    if len(sys.argv) > 4:
        size = int(sys.argv[4])
    # No flush: whoever relies on one must ask for it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    manager = audit_trail()
    for number in range(count):
        write(manager, number, wait_s, size)
        time.sleep(pause_s)
    say(written=count)
    threading.Event().wait()


if __name__ == "__main__":
    main()
