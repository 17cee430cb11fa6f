"""An audited and an observed process, and everything that leaves it or stays on its disk."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from kaizen_otel._otlp.decode import (
    decode_logs_request,
    decode_metrics_request,
    decode_traces_request,
)
from kaizen_otel._pipeline import Pipeline
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.observability import ObservabilityManager
from kaizen_otel.testing import FakeTransport
from tests.trail.canaries import search

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._export import Signal, Transport

DECODERS = {
    "traces": decode_traces_request,
    "metrics": decode_metrics_request,
    "logs": decode_logs_request,
}


class Said(logging.Handler):
    """What we have warned about."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class House:
    """An audit trail on the real disk, and everything that leaves it or stays."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.texts: list[str] = []
        self.said = Said()
        logging.getLogger("kaizen_otel").addHandler(self.said)
        self.transport = FakeTransport()
        anchors = {"KAIZEN_OTEL_ANCHOR_FILE": str(directory / "anchors.jsonl")}
        spool = {"KAIZEN_OTEL_SPOOL_DIR": str(directory / "spool")}
        self.config = Config.from_environment({**spool, **anchors, **environment})
        self.manager = AuditTrailManager(config=self.config, transport=self.transport)

    def everything(self) -> dict[str, bytes]:
        """What an outsider may come to see, by where it was found."""
        found = {
            # What the program's own loggers say is the program's business.
            "warnings": "\n".join(self.said.texts).encode(),
            "texts": "\n".join(self.texts).encode(errors="surrogatepass"),
            "status": repr(self.manager.status()).encode(),
        }
        for number, (signal, body, _) in enumerate(self.transport.requests):
            found[f"{signal} {number}"] = body
            found[f"{signal} {number} as JSON"] = json.dumps(DECODERS[signal](body)).encode()
        files = {str(p): p.read_bytes() for p in self.directory.rglob("*") if p.is_file()}
        return found | files

    def leaks(self) -> dict[str, set[str]]:
        found = {where: search(data) for where, data in self.everything().items()}
        return {where: what for where, what in found.items() if what}

    def close(self) -> None:
        """Stop; nothing more is looked at."""
        self.manager.shutdown(2_000)
        logging.getLogger("kaizen_otel").removeHandler(self.said)


class Observed(House):
    """An observed process: four signals, the audit records among them on the same transport."""

    def __init__(self, directory: Path) -> None:
        both = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental/dup"}
        super().__init__(directory, **both)
        sent = self.transport
        transports: dict[Signal, Transport] = {"traces": sent, "metrics": sent, "logs": sent}
        self.pipeline = Pipeline(self.config, transports=transports)
        # The pipeline's own audit trail would go to the network.
        self.pipeline._audit = self.manager
        self.observability = ObservabilityManager("shop", pipeline=self.pipeline)

    def leaks(self) -> dict[str, set[str]]:
        """Stop, so that everything has been sent, and look."""
        assert self.pipeline.shutdown(30_000)
        assert {signal for signal, _, _ in self.transport.requests} == set(DECODERS)
        return super().leaks()

    def close(self) -> None:
        """Stop the pipeline too."""
        self.pipeline.shutdown(2_000)
        super().close()
