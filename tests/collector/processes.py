"""A Collector with shipped configs on free ports, its folders below one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import CollectorProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def collector(
    binary: Path, folder: Path, configs: Sequence[str | Path], **environment: str
) -> CollectorProcess:
    """Not started; ``configs`` are names or paths, overlays behind their config."""
    return CollectorProcess(
        [config_path(str(config)) for config in configs],
        binary=binary,
        environment={
            **free_ports(),
            "KAIZEN_OTEL_DATA_DIR": str(folder / "data"),
            "KAIZEN_OTEL_QUEUE_DIR": str(folder / "queue"),
            "KAIZEN_OTEL_AUDIT_DIR": str(folder / "audit"),
            "KAIZEN_OTEL_DEAD_LETTER_DIR": str(folder / "dead-letter"),
            **environment,
        },
        log_path=folder / "collector.log",
    )
