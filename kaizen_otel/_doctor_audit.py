"""The doctor's look at the audit trail, which leaves nothing in it that a verifier objects to.

The receiver is asked with an empty request.  Only where agents have a key a record follows: signed
by that key, in a stream of its own, through the spool, as agents write theirs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._doctor_findings import (
    AUDIT_ENDPOINT,
    NOT_CHECKED,
    SEND_TIMEOUT_MS,
    Finding,
    refusal,
    send_once,
    setting_finding,
)
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._signing import own_key_path, signer_from_file, signer_named
from kaizen_otel._trail.access import user_name
from kaizen_otel._trail.short_stream import STORE_S, short_stream
from kaizen_otel.audit import record as names
from kaizen_otel.errors import ConfigError, KaizenOtelError
from kaizen_otel.testing.backends import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._signing import Signer
    from kaizen_otel.config import Config

CANARY_EVENT: Final = "kaizen.doctor.canary"
_ARRIVAL_S: Final = 3.0
_TAIL_BYTES: Final = 1024 * 1024


def examine_audit(config: Config) -> list[Finding]:
    """Ask the audit receiver, send a record if it can be signed, and look for it in the trail."""
    endpoint = config.audit.endpoint
    refused = refusal("audit", endpoint, send_once("logs", endpoint, b"", AUDIT_ENDPOINT))
    if refused is not None:
        return [refused]
    warnings: list[str] = []
    found = _record(config, f"({endpoint.endpoint})", warnings.append)
    return [*map(setting_finding, warnings), found]


def _record(config: Config, where: str, warn: Callable[[str], None]) -> Finding:
    directory = config.audit.directory
    try:
        signer = _signer(config, warn)
    except ConfigError as error:
        return _error(f"audit records are stored UNSIGNED: {error}", "correct what is named")
    if signer is None:
        return _untried(where, f"no agent has made a signing key in {directory} yet")
    try:
        # Files of ours in another user's spool are files that its agents cannot remove.
        if directory.stat().st_uid != os.getuid():
            return _untried(where, f"{directory} belongs to another user")
        return _written(config, signer, where, warn)
    except (OSError, KaizenOtelError) as error:
        return _error(f"a record was NOT stored: {error}", "mend the audit spool")


def _signer(config: Config, warn: Callable[[str], None]) -> Signer | None:
    """The key that agents sign with; None if there is none yet.  Never makes one."""
    filesystem, setting = OsFilesystem(), config.audit.signing_key
    if setting is not None and setting.strip():
        return signer_named(setting, filesystem=filesystem, warn=warn)
    path = own_key_path(str(config.audit.directory))
    if not Path(path).exists():
        return None
    return signer_from_file(path, filesystem=filesystem, warn=warn)


def _written(config: Config, signer: Signer, where: str, warn: Callable[[str], None]) -> Finding:
    directory = config.audit.directory
    with short_stream(
        str(directory),
        config=config,
        filesystem=OsFilesystem(),
        clock=SystemClock(),
        warn=warn,
        deliver_ms=SEND_TIMEOUT_MS,
        signer=signer,
    ) as manager:
        receipt = manager.emit(
            CANARY_EVENT,
            {
                names.ACTION: "EXECUTE",
                names.OUTCOME: "success",
                names.ACTOR_ID: user_name(),
                names.ACTOR_TYPE: "user",
                names.TARGET_ID: AUDIT_ENDPOINT,
                names.TARGET_TYPE: "kaizen.audit.receiver",
            },
        )
        is_stored = receipt.wait(STORE_S)
    status = manager.status()
    if not is_stored:
        return _error(f"a record was NOT stored: {receipt.reason}", "mend the audit spool")
    if status.undelivered:
        return _error(
            f"a record waits in {directory}, the receiver did not take it {where}: "
            f"{status.failure or 'it did not answer in time'}",
            "look at the Collector's log; the next agent sends it again",
        )
    return _arrival(config.audit.trail_directory, receipt.record_id, where)


def _arrival(directory: Path | None, record_id: str, where: str) -> Finding:
    if directory is None:
        return Finding(subject="audit", level="ok", message=f"{NOT_CHECKED} {where}")
    needle = record_id.encode()
    try:
        # It was written a moment ago, or is about to be by the next Collector.
        path = wait_until(lambda: _file_with(needle, directory), _ARRIVAL_S)
    except TimeoutError:
        return _error(
            f"accepted by the Collector, but it is not in {directory}",
            "KAIZEN_OTEL_AUDIT_DIR must be the folder that this Collector writes",
        )
    return Finding(subject="audit", level="ok", message=f"arrived in {path}")


def _file_with(needle: bytes, directory: Path) -> Path | None:
    files = sorted(directory.glob("audit*.jsonl"), key=lambda path: path.stat().st_mtime)
    # The last two, for a rotation may lie between.
    return next((path for path in reversed(files[-2:]) if needle in _end_of(path)), None)


def _end_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read()


def _untried(where: str, why: str) -> Finding:
    return Finding(
        subject="audit",
        level="ok",
        message=f"the receiver answers, no record was sent {where}: {why}",
    )


def _error(message: str, fix: str) -> Finding:
    return Finding(subject="audit", level="error", message=message, fix=fix)
