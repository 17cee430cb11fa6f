"""``block_action``: no tool runs without a durable intent, and no event loop waits for the disk."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from kaizen_otel._export import Delivered
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import AuditConfig, EndpointConfig
from kaizen_otel.errors import AuditUnavailableError
from kaizen_otel.hooks.operations import Operations
from kaizen_otel.integrations.decorators import traced_tool
from kaizen_otel.testing import FakeTransport
from kaizen_otel.testing.memory_filesystem import Fault, MemoryFilesystem, fail_operation
from tests.unit.hooks.seam import Seam

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from kaizen_otel.observability import ObservabilityManager


class HangingDisk(MemoryFilesystem):
    """Every sync of a segment waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_hanging = False
        self.gate = threading.Event()
        self.waiting = threading.Event()

    def sync(self, handle: int) -> None:
        if self.is_hanging and self._handles[handle][0].endswith(".segment"):
            self.waiting.set()
            assert self.gate.wait(20)
        super().sync(handle)


class House:
    """The seam with a real audit trail on a disk in memory."""

    def __init__(self) -> None:
        self.disk = HangingDisk()
        self.ran: list[str] = []
        seam = Seam(block_action=True)
        self.audit = AuditTrailManager(
            config=AuditConfig(
                directory=Path("/spool"),
                endpoint=EndpointConfig(signal="logs"),
                on_failure="block_action",
            ),
            transport=FakeTransport(after=Delivered()),
            resource=b"",
            filesystem=self.disk,
            warn=seam.warnings.append,
        )
        signals = seam.operations._signals
        self.seam = seam
        self.operations = Operations(
            type(signals)(
                tracing=signals.tracing,
                ids=signals.ids,
                metrics=signals.metrics,
                logging=signals.logging,
                audit=self.audit,
                block_action=True,
                warn=signals.warn,
            ),
            seam.opened,
        )
        self.manager = cast("ObservabilityManager", SimpleNamespace(operations=self.operations))

    def refuse(self) -> None:
        self.disk.fault = fail_operation("sync", Fault())


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.disk.gate.set()
    house.disk.fault = None
    house.audit.shutdown(5_000)


def _tools(house: House) -> dict[str, Any]:
    @traced_tool(manager=house.manager)
    def plain() -> None:
        house.ran.append("plain")

    @traced_tool(manager=house.manager)
    async def coroutine() -> None:
        house.ran.append("coroutine")

    @traced_tool(manager=house.manager)
    def generator() -> Iterator[int]:
        house.ran.append("generator")
        yield 1

    @traced_tool(manager=house.manager)
    async def asynchronous_generator() -> AsyncIterator[int]:
        house.ran.append("asynchronous_generator")
        yield 1

    async def drain() -> None:
        async for _ in asynchronous_generator():
            pass

    return {
        "plain": plain,
        "coroutine": lambda: asyncio.run(coroutine()),
        "generator": lambda: list(generator()),
        "asynchronous_generator": lambda: asyncio.run(drain()),
    }


@pytest.mark.parametrize("kind", ["plain", "coroutine", "generator", "asynchronous_generator"])
def test_no_tool_of_any_kind_runs_when_its_intent_is_refused(house: House, kind: str) -> None:
    run = _tools(house)[kind]
    run()
    assert house.ran == [kind]
    house.refuse()
    with pytest.raises(AuditUnavailableError, match="NOT run"):
        run()
    assert house.ran == [kind]
    assert house.seam.opened.by_id == {}, "what was refused is not under way"
    assert not any(house.operations.is_unconfirmed(k) for k in list(house.operations._unconfirmed))


def test_a_loop_goes_on_while_an_intent_waits_for_the_disk(house: House) -> None:
    @traced_tool(manager=house.manager)
    async def tool() -> str:
        house.ran.append("tool")
        return "done"

    async def main() -> None:
        await tool()
        house.disk.is_hanging = True
        task = asyncio.create_task(tool())
        turns = 0
        while not (house.disk.waiting.is_set() and turns > 100):
            await asyncio.sleep(0)
            turns += 1
        assert not task.done()
        assert house.ran == ["tool"], "the tool has not begun"
        house.disk.gate.set()
        assert await task == "done"

    asyncio.run(main())
    assert house.ran == ["tool", "tool"]


def test_a_task_that_is_cancelled_while_its_intent_waits_runs_nothing(house: House) -> None:
    @traced_tool(manager=house.manager)
    async def tool() -> None:
        house.ran.append("tool")

    async def main() -> None:
        house.disk.is_hanging = True
        task = asyncio.create_task(tool())
        while not house.disk.waiting.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert house.ran == []
    assert house.seam.opened.by_id == {}


def test_an_outcome_does_not_wait_for_the_disk(house: House) -> None:
    """The side effect has happened: waiting would help nobody."""

    @traced_tool(manager=house.manager)
    def tool() -> None:
        house.disk.is_hanging = True

    tool()
    assert house.disk.waiting.wait(10)
    assert not house.disk.gate.is_set(), "the tool is back while the disk still hangs"


def test_a_fault_of_ours_lets_no_tool_run(house: House) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    signals = house.operations._signals
    broken = Operations(
        type(signals)(
            tracing=cast("Any", Broken()),
            ids=signals.ids,
            metrics=signals.metrics,
            audit=house.audit,
            block_action=True,
            warn=signals.warn,
        ),
        house.seam.opened,
    )
    with pytest.raises(AuditUnavailableError, match="NOT run"):
        broken.begin("execute_tool", 1, name="t")


def test_who_is_abandoned_before_it_is_confirmed_still_needs_its_intent(house: House) -> None:
    """Another thread gives the run up between the begin and the wait of one of its tools."""
    house.refuse()
    house.operations.begin("invoke_agent", "run", name="a")
    house.operations.begin("execute_tool", "tool", "run", name="t", confirm=False)
    house.operations.abandon("run", "orphaned")
    assert house.operations.is_unconfirmed("tool")
    with pytest.raises(AuditUnavailableError):
        house.operations.confirm("tool")


def test_without_an_asyncio_loop_awaiting_blocks_and_says_the_same(house: House) -> None:
    """What a trio task sees."""
    receipt = house.audit.emit("kaizen.tool.execute", {})
    with pytest.raises(StopIteration) as done:
        receipt.wait_async(5).send(None)
    assert done.value.value is True


def test_an_intent_that_takes_too_long_is_refused(house: House) -> None:
    house.disk.is_hanging = True
    receipt = house.audit.emit("kaizen.tool.execute", {})
    assert asyncio.run(receipt.wait_async(0.01)) is False
