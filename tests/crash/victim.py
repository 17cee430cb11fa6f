"""A process to be killed: appends, and writes what was acknowledged to its standard output.

Usage: victim.py MODE DIRECTORY [URL].  Each acknowledged text is one line; lines of several
threads are single writes of less than a pipe's atomic size.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from concurrent.futures import Future
from itertools import count
from typing import TYPE_CHECKING

from kaizen_otel._edges import OsFilesystem, SystemClock, shared_ids
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._spool.spool import Spool
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Sized

    from kaizen_otel._spool.framing import OnAnswer

_RESOURCE = encode_resource({"service.name": "victim"})
_FILE_BYTES_MAX = 60_000


class AcknowledgesFirst(Spool):
    """The saboteur: acknowledged before it is written."""

    def append(
        self,
        data: Sized,
        *,
        resource: bytes = b"",
        is_reserved: bool = False,
        on_answer: OnAnswer | None = None,
    ) -> Future[int]:
        super().append(data, resource=resource, is_reserved=is_reserved, on_answer=on_answer)
        early: Future[int] = Future()
        early.set_result(0)
        return early


def _say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def _spool(directory: str, kind: type[Spool] = Spool) -> Spool:
    return kind(
        directory,
        resource=_RESOURCE,
        filesystem=OsFilesystem(),
        clock=SystemClock(),
        ids=shared_ids(),
        segment_bytes_max=200_000,
    )


def _append_for_ever(spool: Spool, name: str) -> None:
    for number in count():
        text = f"{name}-{number}"
        data = encode_log_record(time_ns=1, observed_ns=1, body=text, attributes={"p": "x" * 600})
        spool.append(data).result(30)
        _say(text)


def _threads(spool: Spool) -> None:
    for number in range(4):
        threading.Thread(target=_append_for_ever, args=(spool, f"t{number}"), daemon=True).start()
    threading.Event().wait(60)


def _manager(directory: str, url: str) -> None:
    config = Config.from_environment(
        {"KAIZEN_OTEL_SPOOL_DIR": directory, "KAIZEN_OTEL_AUDIT_ENDPOINT": url}
    )
    manager = AuditTrailManager(config=config, resource=_RESOURCE)

    def use_from_a_thread() -> None:
        while True:
            receipt = manager.record("agent", "tool_execute", {"tool_name": "t"}, "success")
            if receipt.wait(30):
                _say(receipt.record_id)

    async def use_from_a_loop() -> None:
        while True:
            receipt = manager.record("agent", "tool_execute", {"tool_name": "t"}, "success")
            if await receipt:
                _say(receipt.record_id)

    async def use_from_many_tasks() -> None:
        await asyncio.gather(*(use_from_a_loop() for _ in range(8)))

    threading.Thread(target=use_from_a_thread, daemon=True).start()
    asyncio.run(use_from_many_tasks())


def _full(directory: str) -> None:
    """No file may grow beyond a size: the kernel takes a part of a write, then refuses."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES_MAX, _FILE_BYTES_MAX))
    spool = _spool(directory)
    for number in range(400):
        text = f"full-{number}"
        data = encode_log_record(time_ns=1, observed_ns=1, body=text, attributes={"p": "x" * 600})
        try:
            spool.append(data).result(30)
        except SpoolError:
            continue
        _say(text)


def main() -> None:
    mode, directory, *rest = sys.argv[1:]
    if mode == "spool":
        _threads(_spool(directory))
    elif mode == "saboteur":
        _threads(_spool(directory, AcknowledgesFirst))
    elif mode == "manager":
        _manager(directory, rest[0])
    elif mode == "full":
        _full(directory)


if __name__ == "__main__":
    main()
