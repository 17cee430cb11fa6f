"""``@traced_agent`` and ``@traced_tool`` on every kind of function."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from kaizen_otel import semconv
from kaizen_otel.errors import AuditUnavailableError, ConfigError
from kaizen_otel.integrations.decorators import traced_agent, traced_tool
from tests.unit.integrations.recorder import RecordingManager

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator


@pytest.fixture
def recording() -> Iterator[RecordingManager]:
    manager = RecordingManager()
    yield manager
    manager.operations.check_settled()


def current_span_id() -> int:
    return trace.get_current_span().get_span_context().span_id


def test_tools_hang_under_the_agent_that_called_them(recording: RecordingManager) -> None:
    @traced_tool
    def search(query: str) -> str:
        return query.upper()

    @traced_agent(name="researcher", manager=recording.manager)
    def research(query: str) -> str:
        return search(query) + search("b")

    assert research("a") == "AB"
    assert recording.operations.trees() == [
        ("invoke_agent researcher", ["execute_tool search", "execute_tool search"])
    ]
    tool = recording.operations.all[1]
    assert tool.attributes[semconv.GEN_AI_TOOL_TYPE] == "function"
    assert tool.attributes[semconv.GEN_AI_AGENT_NAME] == "researcher"


def test_without_a_pipeline_a_call_passes_straight_through() -> None:
    seen: list[object] = []

    @traced_tool
    def search(query: str) -> int:
        seen.append(query)
        return current_span_id()

    assert search("a") == 0
    assert seen == ["a"]


def test_result_and_exception_are_the_functions_own_objects(recording: RecordingManager) -> None:
    result, failure = object(), LookupError("not there")

    @traced_tool(manager=recording.manager)
    def search(*, fail: bool) -> object:
        if fail:
            raise failure
        return result

    assert search(fail=False) is result
    with pytest.raises(LookupError) as caught:
        search(fail=True)
    assert caught.value is failure
    assert recording.operations.all[1].error is failure


def test_signature_name_and_kind_are_kept(recording: RecordingManager) -> None:
    def plain(a: int, *, b: str = "x") -> str:
        """Do it."""
        return b * a

    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    async def asynchronous_generator() -> AsyncIterator[int]:
        yield 1

    traced = traced_tool(manager=recording.manager)
    assert inspect.signature(traced(plain)) == inspect.signature(plain)
    assert traced(plain).__name__ == "plain"
    assert traced(plain).__doc__ == "Do it."
    assert inspect.iscoroutinefunction(traced(coroutine))
    assert inspect.isgeneratorfunction(traced(generator))
    assert inspect.isasyncgenfunction(traced(asynchronous_generator))


def test_methods_static_methods_class_methods_and_callable_objects_are_traced(
    recording: RecordingManager,
) -> None:
    traced = traced_tool(manager=recording.manager)

    class Tools:
        factor = 2

        @traced
        def double(self, value: int) -> int:
            return value * self.factor

        @traced
        @staticmethod
        def triple(value: int) -> int:
            return value * 3

        @traced
        @classmethod
        def scaled(cls, value: int) -> int:
            return value * cls.factor

    class Adder:
        def __call__(self, value: int) -> int:
            return value + 1

    class AsyncCallable:
        async def __call__(self, value: int) -> int:
            return value + 2

    assert Tools().double(2) == 4
    assert Tools.triple(2) == 6
    assert Tools.scaled(3) == 6
    assert traced(Adder())(1) == 2
    assert asyncio.run(traced(AsyncCallable())(1)) == 3
    assert traced(functools.partial(Tools.triple, 5))() == 15
    names = [made.name for made in recording.operations.all]
    assert names == [
        "double",
        "triple",
        "scaled",
        "Adder",
        "AsyncCallable",
        "partial",
        "triple",
    ]


def test_an_agent_method_is_named_after_its_class(recording: RecordingManager) -> None:
    class Researcher:
        @traced_agent(manager=recording.manager)
        def run(self) -> int:
            return 1

    assert Researcher().run() == 1
    assert recording.operations.only("invoke_agent").name == "Researcher"


def test_something_that_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigError, match="decorate the functions"):

        @traced_agent
        class Agent:
            pass


def test_a_cancelled_task_ends_its_span_with_cancelled_error(recording: RecordingManager) -> None:
    @traced_tool(manager=recording.manager)
    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(wait())
        while not recording.operations.open:  # noqa: ASYNC110 - until it waits
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    error = recording.operations.only("execute_tool").error
    assert isinstance(error, asyncio.CancelledError)
    assert semconv.error_type(error).endswith("CancelledError")


def test_a_time_out_ends_its_span(recording: RecordingManager) -> None:
    @traced_tool(manager=recording.manager)
    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.01)

    asyncio.run(main())


def test_parallel_calls_of_one_tool_are_siblings(recording: RecordingManager) -> None:
    @traced_tool
    async def fetch(n: int) -> int:
        await asyncio.sleep(0)
        return n

    @traced_agent(manager=recording.manager)
    async def gather() -> list[int]:
        return list(await asyncio.gather(*(fetch(n) for n in range(20))))

    assert asyncio.run(gather()) == list(range(20))
    assert recording.operations.trees() == [("invoke_agent gather", ["execute_tool fetch"] * 20)]


def test_context_reaches_threads_that_copy_it(recording: RecordingManager) -> None:
    @traced_tool
    def work() -> int:
        return threading.get_ident()

    @traced_agent(manager=recording.manager)
    async def run() -> int:
        return await asyncio.to_thread(work)

    assert asyncio.run(run()) != threading.get_ident()
    assert recording.operations.trees() == [("invoke_agent run", ["execute_tool work"])]


def test_a_span_of_someone_elses_in_between_is_the_parent(recording: RecordingManager) -> None:
    """An httpx or database instrumentation between agent and tool keeps its place in the tree."""
    between = NonRecordingSpan(SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(1)))

    @traced_tool
    def query() -> None: ...

    @traced_agent(manager=recording.manager)
    def run() -> None:
        with trace.use_span(between):
            query()

    run()
    tool = recording.operations.only("execute_tool")
    assert tool.parent_id is None
    assert tool.span.parent is not None
    assert tool.span.parent.span_id == 9


def test_a_generators_span_covers_the_iteration_and_is_not_seen_by_the_consumer(
    recording: RecordingManager,
) -> None:
    inside: list[int] = []

    @traced_agent(manager=recording.manager)
    def stream() -> Generator[int, str, str]:
        for n in range(3):
            inside.append(current_span_id())
            received = yield n
            assert received == f"got {n}"
        return "done"

    generator = stream()
    assert recording.operations.all == []
    assert next(generator) == 0
    (agent,) = recording.operations.all
    assert current_span_id() == 0
    assert not agent.ended
    assert generator.send("got 0") == 1
    assert generator.send("got 1") == 2
    with pytest.raises(StopIteration) as stop:
        generator.send("got 2")
    assert stop.value.value == "done"
    assert inside == [agent.span.get_span_context().span_id] * 3
    assert agent.ended
    assert agent.error is None


def test_a_generators_own_current_span_survives_its_yields(recording: RecordingManager) -> None:
    """A span that is current around a ``yield`` is current again after it, and only there."""
    own = NonRecordingSpan(SpanContext(1, 77, is_remote=False, trace_flags=TraceFlags(1)))

    @traced_agent(manager=recording.manager)
    def stream() -> Iterator[int]:
        with trace.use_span(own):
            yield current_span_id()
            yield current_span_id()
        yield current_span_id()

    generator = stream()
    assert next(generator) == 77
    assert current_span_id() == 0
    assert next(generator) == 77
    agent = recording.operations.only("invoke_agent")
    assert next(generator) == agent.span.get_span_context().span_id
    assert list(generator) == []


def test_what_is_thrown_into_a_generator_reaches_it(recording: RecordingManager) -> None:
    failure = LookupError("thrown")

    @traced_agent(manager=recording.manager)
    def stream() -> Generator[str, None, None]:
        try:
            yield "a"
        except LookupError as error:
            yield f"caught {error}"

    generator = stream()
    assert next(generator) == "a"
    assert generator.throw(failure) == "caught thrown"
    assert list(generator) == []
    assert recording.operations.only("invoke_agent").error is None


def test_a_generator_that_raises_fails_its_span(recording: RecordingManager) -> None:
    failure = RuntimeError("boom")

    @traced_agent(manager=recording.manager)
    def stream() -> Iterator[int]:
        yield 1
        raise failure

    with pytest.raises(RuntimeError) as caught:
        list(stream())
    assert caught.value is failure
    assert recording.operations.only("invoke_agent").error is failure


def test_a_generator_left_early_ends_its_span_without_an_error(recording: RecordingManager) -> None:
    closed: list[str] = []

    @traced_agent(manager=recording.manager)
    def stream() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append("yes")

    generator = stream()
    assert next(generator) == 0
    del generator
    gc.collect()
    assert closed == ["yes"]
    assert recording.operations.only("invoke_agent").error is None


def test_generators_are_passed_straight_through_without_a_pipeline() -> None:
    @traced_agent
    def plain() -> Generator[int, int, str]:
        got = yield 1
        yield got
        return "end"

    generator = plain()
    assert next(generator) == 1
    assert generator.send(5) == 5
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "end"

    @traced_agent
    async def asynchronous() -> AsyncGenerator[int, int]:
        got = yield 1
        yield got

    async def main() -> list[int]:
        iterator = asynchronous()
        return [await anext(iterator), await iterator.asend(7)] + [x async for x in iterator]

    assert asyncio.run(main()) == [1, 7]


def test_an_asynchronous_generators_span_is_current_inside_only(
    recording: RecordingManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The complaint of openlit#1369, langfuse#8316, adk-python#6559: "Failed to detach context"."""
    inside: list[int] = []
    outside: list[int] = []

    @traced_tool
    async def tool() -> None:
        await asyncio.sleep(0)

    @traced_agent(manager=recording.manager)
    async def stream() -> AsyncIterator[int]:
        for n in range(3):
            await tool()
            inside.append(current_span_id())
            yield n

    async def main() -> None:
        outside.extend([current_span_id() async for _ in stream()])

    asyncio.run(main())
    agent = recording.operations.only("invoke_agent")
    assert inside == [agent.span.get_span_context().span_id] * 3
    assert outside == [0, 0, 0]
    assert recording.operations.trees() == [("invoke_agent stream", ["execute_tool tool"] * 3)]
    assert "detach" not in caplog.text


def test_an_asynchronous_generator_may_be_driven_by_different_tasks(
    recording: RecordingManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Each step may come from another task and context, as in a web server's response body."""

    @traced_agent(manager=recording.manager)
    async def stream() -> AsyncIterator[int]:
        for _ in range(4):
            await asyncio.sleep(0)
            yield current_span_id()

    async def main() -> set[int]:
        iterator = stream().__aiter__()

        async def step() -> int:
            return await anext(iterator)

        seen = set()
        for _ in range(4):
            context = contextvars.Context()
            seen.add(await asyncio.create_task(step(), context=context))
        with pytest.raises(StopAsyncIteration):
            await asyncio.create_task(step(), context=contextvars.Context())
        return seen

    agent_ids = asyncio.run(main())
    agent = recording.operations.only("invoke_agent")
    assert agent_ids == {agent.span.get_span_context().span_id}
    assert agent.error is None
    assert "detach" not in caplog.text


def test_an_asynchronous_generator_left_early_is_closed_and_ended(
    recording: RecordingManager, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[int] = []

    @traced_agent(manager=recording.manager)
    async def stream() -> AsyncGenerator[int, None]:
        try:
            while True:
                await asyncio.sleep(0)
                yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(current_span_id())

    async def explicitly() -> None:
        async with contextlib.aclosing(stream()) as iterator:
            async for _ in iterator:
                break

    async def by_the_loop() -> None:
        async for _ in stream():
            break
        while not closed[1:]:  # noqa: ASYNC110 - the loop closes it in a task of its own
            await asyncio.sleep(0)

    asyncio.run(explicitly())
    asyncio.run(by_the_loop())
    first, second = recording.operations.all
    assert closed == [m.span.get_span_context().span_id for m in (first, second)]
    assert first.error is None
    assert second.error is None
    assert "detach" not in caplog.text


def test_a_cancelled_consumer_ends_the_asynchronous_generators_span(
    recording: RecordingManager,
) -> None:
    @traced_agent(manager=recording.manager)
    async def stream() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def consume() -> None:
        async for _ in stream():
            pass

    async def main() -> None:
        task = asyncio.create_task(consume())
        while not recording.operations.open:  # noqa: ASYNC110 - until it waits
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert isinstance(recording.operations.only("invoke_agent").error, asyncio.CancelledError)


def test_what_is_sent_and_thrown_reaches_the_asynchronous_generator(
    recording: RecordingManager,
) -> None:
    failure = LookupError("thrown")

    @traced_agent(manager=recording.manager)
    async def stream() -> AsyncGenerator[object, object]:
        got = yield "first"
        try:
            yield got
        except LookupError as error:
            yield error

    async def main() -> list[object]:
        iterator = stream()
        seen = [await anext(iterator), await iterator.asend("sent"), await iterator.athrow(failure)]
        return seen + [item async for item in iterator]

    assert asyncio.run(main()) == ["first", "sent", failure]
    assert recording.operations.only("invoke_agent").error is None


def test_a_coroutine_closed_in_a_foreign_context_leaves_no_trace_in_the_log(
    recording: RecordingManager, caplog: pytest.LogCaptureFixture
) -> None:
    """opentelemetry-python#2606: what the garbage collector closes has no context to go back to."""

    class Once:
        def __await__(self) -> Generator[None, None, None]:
            yield

    @traced_tool(manager=recording.manager)
    async def suspended() -> None:
        await Once()

    coroutine = suspended()
    contextvars.Context().run(coroutine.send, None)
    coroutine.close()
    assert isinstance(recording.operations.only("execute_tool").error, GeneratorExit)
    assert "detach" not in caplog.text


def test_a_refused_tool_does_not_run(recording: RecordingManager) -> None:
    """With on_failure=block_action the intent comes first, or nothing happens."""
    recording.operations.refuse_tools = True
    ran: list[int] = []

    @traced_tool(manager=recording.manager)
    def delete() -> None:
        ran.append(1)

    @traced_tool(manager=recording.manager)
    async def delete_later() -> None:
        ran.append(2)

    with pytest.raises(AuditUnavailableError):
        delete()
    with pytest.raises(AuditUnavailableError):
        asyncio.run(delete_later())
    assert ran == []


def test_a_fault_of_ours_never_reaches_the_host(
    recording: RecordingManager, caplog: pytest.LogCaptureFixture
) -> None:
    # A type of its own: the same warning is not given twice a minute.
    recording.operations.broken = type("DecoratorFault", (Exception,), {})()

    @traced_tool(manager=recording.manager)
    def search() -> str:
        return "found"

    assert search() == "found"
    assert recording.operations.all == []
    assert "a call was not recorded: DecoratorFault" in caplog.text


def test_fixed_attributes_are_set_on_every_span(recording: RecordingManager) -> None:
    @traced_tool(
        name="db", attributes={semconv.GEN_AI_TOOL_TYPE: "datastore"}, manager=recording.manager
    )
    def query() -> None: ...

    query()
    tool = recording.operations.only("execute_tool")
    assert tool.name == "db"
    assert tool.attributes[semconv.GEN_AI_TOOL_TYPE] == "datastore"
