"""A stream whose agent moved between the replicas of an audit tier, and so between volumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaizen_otel._cli.audit import audit
from kaizen_otel._signing import Ed25519Signer
from tests.trail.query_kit import ACTIVE, STREAM, line, signed_stream

CLEAN, INCOMPLETE = 0, 2


@pytest.fixture
def volumes(tmp_path: Path) -> list[str]:
    """The middle of a stream went to the second volume."""
    records = signed_stream(Ed25519Signer.generate(), count=60, stream_id=STREAM)
    parts = {"first": [*records[:20], *records[40:]], "second": records[20:40]}
    for name, part in parts.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / ACTIVE).write_bytes(b"".join(line(one) for one in part))
    return [str(tmp_path / name) for name in parts]


def verified(*folders: str) -> tuple[object, set[str]]:
    """The exit code, and what was found beside notes."""
    done = CliRunner().invoke(audit, ["verify", *folders, "--json"], standalone_mode=False)
    assert done.exception is None, done.exception
    counts = json.loads(done.stdout)["counts"]
    return done.return_value, {one["kind"] for one in counts if one["severity"] != "note"}


@pytest.mark.parametrize("number", [0, 1])
def test_each_volume_alone_is_incomplete_and_no_tampering(volumes: list[str], number: int) -> None:
    code, found = verified(volumes[number])
    assert code == INCOMPLETE
    assert "gap" in found


def test_all_volumes_together_are_clean(volumes: list[str]) -> None:
    assert verified(*volumes) == (CLEAN, set())


def test_a_record_that_no_volume_has_is_missed_by_all_of_them_together(volumes: list[str]) -> None:
    path = Path(volumes[1]) / ACTIVE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    code, found = verified(*volumes)
    assert code != CLEAN
    assert "gap" in found
