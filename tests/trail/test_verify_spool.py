"""Verify what the emitter itself wrote: its spool, and the same delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._spool.files import SEGMENT_SUFFIX
from kaizen_otel._trail.verify import Settings, Sources, verify
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.testing import FakeTransport

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel.audit.verify import Verdict


def _verify(spool: Path) -> Verdict:
    return verify(
        Sources(spools=(str(spool),)),
        settings=Settings(),
        filesystem=OsFilesystem(),
    )


def _spool(folder: Path) -> Path:
    config = Config.from_environment({"KAIZEN_OTEL_SPOOL_DIR": str(folder)})
    trail = AuditTrailManager(directory=str(folder), config=config, transport=FakeTransport())
    for number in range(20):
        assert trail.emit("kaizen.tool.execute", {"n": number}).wait(10)
    trail.shutdown(10_000)
    return folder


def test_what_the_emitter_stores_is_clean(tmp_path: Path) -> None:
    verdict = _verify(_spool(tmp_path / "spool"))
    assert [f for f in verdict.findings if f.severity != "note"] == []
    assert verdict.records >= 20
    named = verify(
        Sources(trails=(str(tmp_path / "spool"),)), settings=Settings(), filesystem=OsFilesystem()
    )
    assert (named.exit_code, named.records) == (0, verdict.records)


def test_a_byte_changed_in_a_segment_is_found(tmp_path: Path) -> None:
    spool = _spool(tmp_path / "spool")
    (segment,) = list(spool.glob(f"*/*{SEGMENT_SUFFIX}"))
    content = bytearray(segment.read_bytes())
    content[content.rfind(b"kaizen.tool.execute") + 2] ^= 1
    segment.write_bytes(content)
    assert _verify(spool).exit_code in {1, 2}


def test_a_spool_that_is_not_there_or_empty_is_never_clean(tmp_path: Path) -> None:
    assert _verify(tmp_path / "nothing").exit_code == 3
    (tmp_path / "empty").mkdir()
    assert _verify(tmp_path / "empty").exit_code == 3
