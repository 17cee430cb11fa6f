"""The audit stores that are compared, each behind the same few methods.

All of them are given the same facts about the same tool call.  An acknowledgement is whatever the
store itself offers: ``put`` returns when its call says that the record is taken.
"""

from __future__ import annotations

import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar, Final

from kaizen_otel import semconv

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

EVENT: Final = semconv.EVENT_TOOL_EXECUTE
_FLUSH_MS: Final = 60_000

FACTS: Final[dict[str, object]] = {
    semconv.GEN_AI_OPERATION_NAME: "execute_tool",
    semconv.GEN_AI_AGENT_NAME: "qa-agent",
    semconv.GEN_AI_TOOL_NAME: "bash_command",
    semconv.GEN_AI_TOOL_TYPE: "function",
    semconv.GEN_AI_CONVERSATION_ID: "conversation-0042",
    semconv.KAIZEN_AGENT_ID: "qa-agent-7",
    semconv.KAIZEN_RUN_ID: "0193b1de-7000-7000-8000-000000000042",
    "audit.action": "EXECUTE",
    "audit.actor.id": "qa-agent",
    "audit.actor.type": "service",
    "audit.outcome": "success",
    "audit.target.id": "bash_command",
    "audit.target.type": "execute_tool",
    "kaizen.audit.phase": "outcome",
}
"""What the hooks say about one tool call, without its id, which differs."""


def facts(index: int) -> dict[str, object]:
    """Return the attributes of record ``index``."""
    call = f"call-{index:08d}"
    return {**FACTS, semconv.GEN_AI_TOOL_CALL_ID: call, "kaizen.audit.intent_id": call}


class Contender:
    """One audit store.  Sync ones implement ``put``, others ``put_async``."""

    name: ClassVar[str]
    modes: ClassVar[tuple[str, ...]]
    acknowledged: ClassVar[str]
    scale: ClassVar[float] = 1.0
    is_async: ClassVar[bool] = False
    never_waits: ClassVar[bool] = False

    def open(self, directory: Path, sink: str, runner: asyncio.Runner) -> None:
        """Make the store in ``directory``; records are delivered to ``sink``, if anywhere."""
        raise NotImplementedError

    def put(self, index: int) -> bool:
        """Write one record; True when it is acknowledged, False if it was refused."""
        raise NotImplementedError

    async def put_async(self, index: int) -> bool:
        """Do it from a running event loop; where nothing waits, the same call."""
        return self.put(index)

    def flush(self) -> None:
        """Wait until everything is where the store wants it to be."""

    def close(self) -> None:
        """Give everything back."""

    def is_synced_below(self) -> bool:
        """Whether a library below Python syncs each record, which cannot be seen from here."""
        return False

    def verified(self) -> str:
        """Ask the store to verify what it holds; empty if it has no such thing."""
        return ""

    @staticmethod
    def stored(directory: Path) -> int:
        """Return how many records are found in the files."""
        del directory
        return 0

    @staticmethod
    def chained(directory: Path) -> str:
        """Return what ties the stored records together, as found in the files."""
        del directory
        return "no"


class Raw(Contender):
    """The disk itself: append as many bytes as one stored record of ours has, and sync."""

    name = "append + fdatasync"
    modes = ("one", "threads:8", "threads:64")
    acknowledged = "synced"

    def __init__(self, size: int) -> None:
        self._data = b"x" * size
        self._size = size

    def open(self, directory: Path, sink: str, runner: asyncio.Runner) -> None:
        """Make the file."""
        del sink, runner
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._handle = os.open(directory / "raw", flags, 0o600)

    def put(self, index: int) -> bool:
        """Append and sync."""
        del index
        os.write(self._handle, self._data)
        os.fdatasync(self._handle)
        return True

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    @staticmethod
    def stored(directory: Path) -> int:
        """Count by size is left to the caller: every byte is there or the call failed."""
        return (directory / "raw").stat().st_size


class Ours(Contender):
    """kaizen-otel, with its shipper sending to the sink meanwhile."""

    name = "ours, durable"
    modes = ("one", "threads:8", "threads:64", "tasks:8", "tasks:64", "paced:64")
    acknowledged = "synced"
    durability: ClassVar[str] = "durable"

    def open(self, directory: Path, sink: str, runner: asyncio.Runner) -> None:
        """Make the manager."""
        from kaizen_otel._signing import Ed25519Signer
        from kaizen_otel.audit_trail import AuditTrailManager
        from kaizen_otel.config import Config

        del runner
        config = Config.from_environment(
            {
                "KAIZEN_OTEL_SPOOL_DIR": str(directory),
                "KAIZEN_OTEL_AUDIT_ENDPOINT": sink,
                "KAIZEN_OTEL_DURABILITY": self.durability,
                "OTEL_SERVICE_NAME": "bench",
            }
        )
        signer = Ed25519Signer.generate()
        self._manager = AuditTrailManager(config=config, signer=signer, warn=_complain)
        self._trace_id, self._span_id = bytes(range(1, 17)), bytes(range(1, 9))

    def put(self, index: int) -> bool:
        """Emit and wait."""
        return self._emit(index).wait()

    async def put_async(self, index: int) -> bool:
        """Emit and await."""
        return bool(await self._emit(index))

    def _emit(self, index: int) -> Any:  # noqa: ANN401 - a Receipt
        return self._manager.emit(
            EVENT, facts(index), trace_id=self._trace_id, span_id=self._span_id
        )

    def flush(self) -> None:
        """Deliver everything."""
        if not self._manager.flush(_FLUSH_MS):
            raise RuntimeError("the sink did not take everything in time")

    def close(self) -> None:
        """Shut down."""
        self._manager.shutdown(_FLUSH_MS)

    @staticmethod
    def stored(directory: Path) -> int:
        """Count the entries of this event in all segments."""
        return sum(EVENT.encode() in payload for payload in payloads(directory))

    @staticmethod
    def chained(directory: Path) -> str:
        """Look for links and signatures in the stored bytes."""
        ours = [payload for payload in payloads(directory) if EVENT.encode() in payload]
        parts = {
            "chain": b"audit.sequence.previous_hash",
            "signature": b"audit.integrity.value",
        }
        found = [name for name, mark in parts.items() if any(mark in data for data in ours)]
        return " + ".join(found) or "no"


class OursUnsynced(Ours):
    """The same without syncing: a SIGKILL takes nothing, a power cut may."""

    name = "ours, none"
    modes = ("one", "threads:64", "tasks:64", "paced:64")
    acknowledged = "written"
    durability = "none"


class OursRecord(Ours):
    """Kaizen's own signature on our manager: the details are content and become HMACs."""

    name = "ours, record()"
    modes = ("one", "tasks:64")

    def _emit(self, index: int) -> Any:  # noqa: ANN401 - a Receipt
        return self._manager.record(
            "qa-agent-7", "tool_execute", facts(index), "success", user_id="user@example.com"
        )


class KaizenManager(Contender):
    """Kaizen's ``AuditTrailManager`` with its ``FileAuditStorage``."""

    name = "Kaizen AuditTrailManager"
    modes = ("one", "tasks:8", "tasks:64", "paced:64")
    acknowledged = "written"
    scale = 0.25
    is_async = True

    def open(self, directory: Path, sink: str, runner: asyncio.Runner) -> None:
        """Make manager and storage."""
        from kaizen.core.autonomy.observability.audit import AuditTrailManager, FileAuditStorage

        del sink, runner
        self._manager = AuditTrailManager(FileAuditStorage(str(directory / "audit.jsonl")))

    async def put_async(self, index: int) -> bool:
        """Record; it has no other answer than to return."""
        await self._manager.record(
            "qa-agent-7", "tool_execute", facts(index), "success", user_id="user@example.com"
        )
        return True

    @staticmethod
    def stored(directory: Path) -> int:
        """Count the lines that are JSON."""
        path = directory / "audit.jsonl"
        return sum(_is_json(line) for line in path.read_bytes().splitlines())


class KaizenStorage(KaizenManager):
    """``FileAuditStorage`` alone."""

    name = "Kaizen FileAuditStorage"
    modes = ("one",)

    def open(self, directory: Path, sink: str, runner: asyncio.Runner) -> None:
        """Make the storage."""
        from datetime import UTC, datetime

        from kaizen.core.autonomy.observability.audit import FileAuditStorage
        from kaizen.core.autonomy.observability.types import AuditEntry

        del sink, runner
        self._storage = FileAuditStorage(str(directory / "audit.jsonl"))
        self._entry, self._now = AuditEntry, lambda: datetime.now(UTC)

    async def put_async(self, index: int) -> bool:
        """Append one entry."""
        await self._storage.append(
            self._entry(
                timestamp=self._now(),
                agent_id="qa-agent-7",
                action="tool_execute",
                details=facts(index),
                result="success",
                user_id="user@example.com",
                metadata={},
            )
        )
        return True


class KailashStore(Contender):
    """Kailash's ``SqliteAuditStore``, which has a hash chain."""

    name = "Kailash SqliteAuditStore"
    modes = ("one", "tasks:8", "paced:64")
    acknowledged = "committed"
    scale = 0.1
    is_async = True

    def open(self, directory: Path, sink: str, runner: asyncio.Runner) -> None:
        """Make pool and table."""
        from kailash.core.pool.sqlite_pool import AsyncSQLitePool, SQLitePoolConfig
        from kailash.trust.audit_store import SqliteAuditStore

        del sink
        self._path, self._runner = directory / "audit.db", runner
        self._pool = AsyncSQLitePool(SQLitePoolConfig(db_path=str(self._path)))
        runner.run(self._pool.initialize())
        self._store = SqliteAuditStore(self._pool)
        runner.run(self._store.initialize())

    async def put_async(self, index: int) -> bool:
        """Create and append; a broken chain is a refusal."""
        from kailash.trust.audit_store import AuditStoreError

        try:
            await self._store.create_and_append(
                actor="qa-agent-7",
                action="tool_execute",
                resource="bash_command",
                outcome="success",
                metadata=facts(index),
            )
        except AuditStoreError:
            return False
        return True

    def is_synced_below(self) -> bool:
        """Ask SQLite: NORMAL with a write-ahead log syncs at checkpoints only."""

        async def ask() -> int:
            async with self._pool.acquire_write() as connection:
                cursor = await connection.execute("PRAGMA synchronous")
                return int((await cursor.fetchone())[0])

        full = 2
        return self._runner.run(ask()) >= full

    def verified(self) -> str:
        """Ask for its own verdict on what it wrote."""
        return "passes" if self._runner.run(self._store.verify_chain()) else "FAILS, not altered"

    def close(self) -> None:
        """Close the pool."""
        self._runner.run(self._pool.close())

    @staticmethod
    def stored(directory: Path) -> int:
        """Count the rows."""
        connection = sqlite3.connect(directory / "audit.db")
        try:
            return int(
                connection.execute("select count(*) from kailash_audit_events").fetchone()[0]
            )
        finally:
            connection.close()

    @staticmethod
    def chained(directory: Path) -> str:
        """Its rows have the previous row's hash."""
        del directory
        return "chain"


class StockSdk(Contender):
    """The OpenTelemetry SDK's logs: batch processor and OTLP/HTTP exporter with their defaults."""

    name = "OpenTelemetry SDK logs"
    modes = ("one", "threads:64", "tasks:64", "paced:64")
    acknowledged = "in memory"
    never_waits = True

    def open(self, directory: Path, sink: str, runner: asyncio.Runner) -> None:
        """Make the provider."""
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.resources import Resource

        del directory, runner
        self._provider = LoggerProvider(Resource.create({"service.name": "bench"}))
        exporter = OTLPLogExporter(endpoint=f"{sink}/v1/logs")
        self._provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        self._logger = self._provider.get_logger("bench")
        self._record, self._severity = LogRecord, SeverityNumber.INFO

    def put(self, index: int) -> bool:
        """Emit; nobody learns what becomes of it."""
        self._logger.emit(
            self._record(event_name=EVENT, severity_number=self._severity, attributes=facts(index))
        )
        return True

    def flush(self) -> None:
        """Send what is in memory."""
        self._provider.force_flush(_FLUSH_MS)

    def close(self) -> None:
        """Shut down."""
        self._provider.shutdown()


def payloads(directory: Path) -> list[bytes]:
    """Return all records in the segments of a spool root."""
    from kaizen_otel._spool.files import SEGMENT_SUFFIX
    from kaizen_otel._spool.segment import scan

    return [
        entry.payload
        for path in sorted(directory.rglob(f"*{SEGMENT_SUFFIX}"))
        for entry in scan(path.read_bytes()).entries
        if not entry.is_resource
    ]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _complain(message: str) -> None:
    os.write(2, f"kaizen-otel: {message}\n".encode())
