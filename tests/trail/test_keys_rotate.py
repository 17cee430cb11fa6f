"""`kaizen-otel audit keys rotate`: the record that it leaves, and what it does to the files."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._otlp.decode import decode_log_record, plain_attributes
from kaizen_otel._signing import signer_from_file
from kaizen_otel._spool.files import segment_paths, stream_ids
from kaizen_otel._trail.keys import make_key_file, rotate_key_file
from kaizen_otel._trail.rotation import record_rotation
from kaizen_otel.audit import record as record_names
from kaizen_otel.audit._stored import Report, read_segment
from kaizen_otel.audit.canonical import canonical_record, record_hash
from kaizen_otel.audit.rotation import read_rotation
from kaizen_otel.audit.signatures import (
    decode_base64,
    verify_signature,
)
from kaizen_otel.config import Config
from kaizen_otel.errors import ConfigError, SpoolFailedError
from kaizen_otel.testing import FakeTransport
from kaizen_otel.testing.memory_filesystem import (
    Call,
    Fault,
    MemoryFilesystem,
    fail_operation,
)
from tests.trail.keys_kit import (
    answer,
    assert_no_private_key,
    done,
    mode,
    names,
    prepare,
    refused,
    run,
)

ROTATE = ("keys", "rotate", "--timeout", "0.1")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare(tmp_path, monkeypatch)


class Stream:
    """The one stream of a spool: its records in the order of their numbers, by JSON names."""

    def __init__(self, spool: Path) -> None:
        filesystem, report = OsFilesystem(), Report()
        [stream_id] = stream_ids(filesystem, str(spool))
        self.records: list[dict[str, Any]] = []
        for path in segment_paths(filesystem, str(spool / stream_id)):
            found = read_segment(filesystem, path, report=report)
            assert found
            self.records += [decode_log_record(entry.payload) for entry in found.entries]
        self.stream_id = stream_id
        assert not report.count

    def named(self, event_name: str) -> dict[str, Any]:
        [found] = [record for record in self.records if record["eventName"] == event_name]
        return found

    @staticmethod
    def attributes(record: dict[str, Any]) -> dict[str, Any]:
        return plain_attributes(record["attributes"])

    def signed_by(self, record: dict[str, Any]) -> str:
        """The id of the key whose signature the record bears, by its word only."""
        return str(self.attributes(record)[record_names.INTEGRITY_CERTIFICATE])

    def is_signed(self, record: dict[str, Any], public_key: bytes) -> bool:
        """Whether the key signed the record."""
        value = str(self.attributes(record)[record_names.INTEGRITY_VALUE])
        signature = decode_base64(value, 64)
        assert signature
        return verify_signature(public_key, signature, record_hash(canonical_record(record)))


class TestRotate:
    """`keys rotate`."""

    def test_the_old_key_signs_a_record_that_names_the_new_one_which_proves_it(
        self, place: Path
    ) -> None:
        old = answer("keys", "new", "agent.pem")
        new = answer(*ROTATE, "agent.pem")
        assert new["old_key_id"] == old["key_id"] != new["key_id"]
        assert answer("keys", "show", "agent.pem")["key_id"] == new["key_id"]
        assert answer("keys", "show", new["old_path"])["key_id"] == old["key_id"]
        assert mode(place / "agent.pem") == mode(Path(new["old_path"])) == 0o600
        stream = Stream(place / "spool")
        rotated, stopped = stream.named("kaizen.audit.key_rotated"), stream.records[-1]
        proven = read_rotation(
            stream.attributes(rotated), old_key_id=old["key_id"], stream_id=stream.stream_id
        )
        assert proven.key_id == new["key_id"]
        assert stream.signed_by(rotated) == old["key_id"]
        public_key = decode_base64(old["public_key"], 32)
        assert public_key
        assert stream.is_signed(rotated, public_key)
        assert not stream.is_signed(rotated, proven.public_key)
        assert stopped["eventName"] == "kaizen.audit.stopped"
        assert stream.signed_by(stopped) == new["key_id"]
        assert stream.is_signed(stopped, proven.public_key)

    def test_its_text_says_what_is_left_to_do_and_holds_no_private_key(self, place: Path) -> None:
        done("keys", "new", "agent.pem")
        result = run(*ROTATE, "agent.pem")
        assert result.return_value == 0
        text = result.output
        assert "until they are started again" in text
        public_key = answer("keys", "show", "agent.pem")["public_key"]
        assert f"audit trust add {public_key} --name NAME" in text
        [old] = place.glob("agent.pem.old-*")
        assert_no_private_key(text, place / "agent.pem", old)
        for path in (place / "spool").rglob("*.segment"):
            assert_no_private_key(path.read_bytes().decode("latin-1"), place / "agent.pem", old)

    def test_without_a_file_the_key_is_rotated_that_agents_sign_with(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place / "spool").mkdir(mode=0o700)
        done("keys", "new", "spool/signing.key")
        assert answer(*ROTATE)["path"] == str(place / "spool" / "signing.key")
        done("keys", "new", "agent.pem")
        monkeypatch.setenv("KAIZEN_OTEL_SIGNING_KEY", str(place / "agent.pem"))
        assert answer(*ROTATE)["path"] == str(place / "agent.pem")

    def test_a_link_to_the_key_stays_a_link(self, place: Path) -> None:
        done("keys", "new", "real.pem")
        (place / "agent.pem").symlink_to("real.pem")
        new = answer(*ROTATE, "agent.pem")
        assert new["path"] == str(place / "real.pem")
        assert (place / "agent.pem").is_symlink()
        assert answer("keys", "show", "real.pem")["key_id"] == new["key_id"]

    def test_a_key_in_the_variable_cannot_be_rotated(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done("keys", "new", "agent.pem")
        monkeypatch.setenv("KAIZEN_OTEL_SIGNING_KEY", (place / "agent.pem").read_text())
        message = refused(*ROTATE)
        assert "NOT rotated" in message
        assert_no_private_key(message, place / "agent.pem")
        assert names(place) == ["agent.pem"]

    def test_if_the_record_cannot_be_stored_the_key_stays_and_the_next_try_ends_it(
        self, place: Path
    ) -> None:
        old = answer("keys", "new", "agent.pem")
        (place / "spool").write_text("in the way")
        result = run(*ROTATE, "agent.pem")
        assert isinstance(result.exception, SpoolFailedError)
        assert result.exception.exit_code == 5
        assert "NOT rotated" in str(result.exception)
        assert answer("keys", "show", "agent.pem")["key_id"] == old["key_id"]
        coming = answer("keys", "show", "agent.pem.next")
        (place / "spool").unlink()
        assert answer(*ROTATE, "agent.pem")["key_id"] == coming["key_id"]

    def test_a_setting_that_is_less_durable_does_not_hold_here(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With `delivered` the record would wait for a receiver, with `none` for nothing."""
        monkeypatch.setenv("KAIZEN_OTEL_DURABILITY", "delivered")
        monkeypatch.setenv("KAIZEN_OTEL_ON_FAILURE", "block_action")
        done("keys", "new", "agent.pem")
        assert answer(*ROTATE, "agent.pem")["key_id"]
        assert Stream(place / "spool").named("kaizen.audit.key_rotated")


FILE = "/keys/agent.pem"
SPOOL = "/keys/spool"


class NoSync(MemoryFilesystem):
    """Forgets to make bytes durable."""

    def sync(self, handle: int) -> None:
        """Do nothing."""


def rotated_keys(disk: MemoryFilesystem) -> set[str]:
    """The new keys that the spool of a disk names."""
    found: set[str] = set()
    for stream_id in stream_ids(disk, SPOOL):
        for path in segment_paths(disk, f"{SPOOL}/{stream_id}"):
            scan = read_segment(disk, path, report=Report())
            for entry in scan.entries if scan else ():
                record = decode_log_record(entry.payload)
                if record["eventName"] == "kaizen.audit.key_rotated":
                    found.add(str(plain_attributes(record["attributes"])[record_names.KEY_ID]))
    return found


def states_in_which_nobody_can_know_the_key(make: type[MemoryFilesystem]) -> list[str]:
    """Rotate with the real spool; lose the power before every call of the disk."""
    disk, clock = make(), SystemClock()
    disk.make_directory("/keys")
    MemoryFilesystem.sync_directory(disk, "/")
    old = make_key_file(FILE, filesystem=disk, clock=clock)
    snapshots: list[tuple[Call, MemoryFilesystem]] = []

    def stop(call: Call) -> None:
        snapshots.append((call, disk.lose_power()))

    disk.fault = stop
    transport = FakeTransport()
    done = rotate_key_file(
        FILE,
        filesystem=disk,
        clock=clock,
        warn=lambda _: None,
        record=partial(
            record_rotation,
            directory=SPOOL,
            config=Config.from_environment({"KAIZEN_OTEL_ANCHORS": "none"}),
            filesystem=disk,
            clock=clock,
            warn=lambda _: None,
            deliver_ms=0,
            transport=transport,
        ),
    )
    disk.fault = None
    snapshots.append((Call(0, "the end", ""), disk.lose_power()))
    problems: list[str] = []
    for call, left in snapshots:
        try:
            key_id = signer_from_file(FILE, filesystem=left, warn=lambda _: None).key_id
        except ConfigError as error:
            key_id = str(error)
        if key_id != old.key_id and not (
            key_id == done.new.key_id and key_id in rotated_keys(left)
        ):
            problems.append(f"{call}: {key_id}")
    assert any(call.operation == "rename" and call.path == f"{FILE}.next" for call, _ in snapshots)
    return problems


def test_a_new_key_is_in_use_only_when_its_record_survives_a_power_loss() -> None:
    assert states_in_which_nobody_can_know_the_key(MemoryFilesystem) == []


def test_without_syncs_there_are_states_in_which_nobody_can_know_the_key() -> None:
    assert states_in_which_nobody_can_know_the_key(NoSync)


def test_a_spool_that_cannot_be_made_leaves_the_key_as_it_is() -> None:
    disk, clock = MemoryFilesystem(), SystemClock()
    disk.make_directory("/keys")
    old = make_key_file(FILE, filesystem=disk, clock=clock)
    disk.fault = fail_operation("make_directory", Fault(error=errno.EACCES))
    with pytest.raises(SpoolFailedError, match=r"Permission denied.*run this again"):
        rotate_key_file(
            FILE,
            filesystem=disk,
            clock=clock,
            warn=lambda _: None,
            record=partial(
                record_rotation,
                directory=SPOOL,
                config=Config.from_environment({}),
                filesystem=disk,
                clock=clock,
                warn=lambda _: None,
                deliver_ms=0,
            ),
        )
    assert signer_from_file(FILE, filesystem=disk, warn=lambda _: None).key_id == old.key_id
