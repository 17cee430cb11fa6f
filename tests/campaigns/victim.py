"""A process that forks victims on order and tells what they say; see ``kit.Zygote``.

An order is one line of JSON: ``environment`` (the agent's variables), ``threads`` and ``tasks``
that record without end, ``sabotage`` (a name in ``saboteurs``), ``cut`` (cut the power of a
directory's disk) or ``fail`` (let calls of the disk fail, see ``disks``), ``segment_bytes`` (roll
early), ``seconds`` (end by itself), ``give_up`` (end at the first refusals),
``mode`` (``records``, or ``tools``: side effects behind intents, see ``blocked``).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._spool.store import open_or_explain
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from tests.campaigns import saboteurs
from tests.campaigns.disks import CutsPower, FailsCalls, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._export import Transport
    from kaizen_otel.audit_trail import Receipt

_WAIT_S = 30


def tell(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def _warn(text: str) -> None:
    os.write(2, text.encode() + b"\n")


def _filesystem(order: dict[str, Any]) -> OsFilesystem:
    """The disk with its fault, over one from which a safety was taken out."""
    kind = saboteurs.FILESYSTEMS.get(order.get("sabotage", ""), OsFilesystem)
    if "cut" in order:
        cuts: CutsPower = type("Cuts", (CutsPower, kind), {})()
        cuts.cut_at(**order["cut"])
        return cuts
    if "fail" in order:
        fails: FailsCalls = type("Fails", (FailsCalls, kind), {})()
        fails.plan = Plan(**order["fail"])
        return fails
    return kind()


def manager_of(order: dict[str, Any]) -> AuditTrailManager:
    config = Config.from_environment(order["environment"])
    transport: Transport | None = None
    wrapper = saboteurs.TRANSPORTS.get(order.get("sabotage", ""))
    if wrapper is not None:
        transport = wrapper(open_or_explain(config.audit.endpoint, clock=SystemClock()))
    manager = AuditTrailManager(
        config=config,
        filesystem=_filesystem(order),
        transport=transport,
        warn=_warn,
    )
    segment_bytes = order.get("segment_bytes")
    if segment_bytes is not None:
        store = manager._intake.open()  # no setting: a roll every 16 MiB would hardly be hit
        assert store is not None
        store.spool._writer._segment_bytes_max = segment_bytes
    return manager


def _records(order: dict[str, Any]) -> None:
    """Threads and tasks record without end; every acknowledged id is told at once."""
    manager = manager_of(order)
    padding = "y" * int(order.get("padding", 0))
    numbers = itertools.count(1)

    def record() -> Receipt:
        details = {"tool_name": "t", "number": next(numbers), "padding": padding}
        return manager.record("agent", "tool_execute", details, "success")

    for _ in range(order["threads"]):
        threading.Thread(target=_use_from_a_thread, args=(record,), daemon=True).start()
    asyncio.run(_use_from_tasks(record, order["tasks"]))


def _use_from_a_thread(record: Callable[[], Receipt]) -> None:
    while True:
        receipt = record()
        if receipt.wait(_WAIT_S):
            tell(receipt.record_id)


async def _use_from_tasks(record: Callable[[], Receipt], count: int) -> None:
    async def use() -> None:
        while True:
            receipt = record()
            if await receipt:
                tell(receipt.record_id)
            else:
                await asyncio.sleep(0.001)

    await asyncio.gather(*(use() for _ in range(max(1, count))))


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                tell(f"pid {os.getpid()}")
                if order.get("mode") == "tools":
                    from tests.campaigns.tools import use_tools

                    use_tools(order)
                else:
                    _records(order)
            except BaseException:  # noqa: BLE001 - a victim that fails must not go on as a zygote
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        os.waitpid(child, 0)
        tell(f"gone {child}")


if __name__ == "__main__":
    main()
