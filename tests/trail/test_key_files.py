"""Key files and trust files on a disk that fails or stops at every call."""

from __future__ import annotations

import errno
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from kaizen_otel._edges import SystemClock
from kaizen_otel._signing import Ed25519Signer, Signer
from kaizen_otel._spool.files import replace_file
from kaizen_otel._trail.keys import (
    Rotated,
    change_trust,
    make_key_file,
    read_trust,
    rotate_key_file,
)
from kaizen_otel.audit.trust import Trust, TrustedKey
from kaizen_otel.errors import ConfigError, SpoolFailedError
from kaizen_otel.testing.memory_filesystem import (
    Call,
    Effect,
    Fault,
    MemoryFilesystem,
    fail_call,
    fail_operation,
)

FILE = "/keys/agent.pem"
TRUST = "/keys/trust.json"
EFFECTS: tuple[Effect, ...] = ("none", "full", "short")


def key_in(disk: MemoryFilesystem, path: str) -> str | None:
    """The id of the whole key in a file, or None if there is no file."""
    try:
        data = disk.read(path, 0, 1000)
    except FileNotFoundError:
        return None
    return Ed25519Signer.from_pem(data).key_id


class NoSync(MemoryFilesystem):
    """Forgets to make bytes durable."""

    def sync(self, handle: int) -> None:
        """Do nothing."""


class NoDirectorySync(MemoryFilesystem):
    """Forgets to make names durable."""

    def sync_directory(self, path: str) -> None:
        """Do nothing."""


Rotate = Callable[..., Rotated]
OLD = Ed25519Signer.generate()


@dataclass
class Rotation:
    """A disk with a key file, its rotation, and the records of it that became durable."""

    disk: MemoryFilesystem
    rotate: Rotate = rotate_key_file
    recorded: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, make: Callable[[], MemoryFilesystem], rotate: Rotate) -> Rotation:
        disk = make()
        MemoryFilesystem.make_directory(disk, "/keys")
        MemoryFilesystem.sync_directory(disk, "/")
        handle = disk.create(FILE)
        disk.write(handle, OLD.to_pem())
        MemoryFilesystem.sync(disk, handle)
        disk.close(handle)
        MemoryFilesystem.sync_directory(disk, "/keys")
        disk.calls.clear()
        return cls(disk, rotate)

    def run(self) -> Rotated:
        return self.rotate(
            FILE,
            filesystem=self.disk,
            clock=SystemClock(),
            warn=self.warned.append,
            record=self._record,
        )

    def _record(self, old: Signer, new: Signer) -> None:
        assert old.key_id == OLD.key_id
        self.recorded.append(new.key_id)

    def problems(self, disk: MemoryFilesystem, what: str) -> list[str]:
        """What is wrong with the keys of a disk as the next process finds it, and tries again."""
        found: list[str] = []
        try:
            now, kept = key_in(disk, FILE), key_in(disk, f"{FILE}.old-{OLD.key_id}")
            coming = key_in(disk, f"{FILE}.next")
        except ConfigError as error:
            return [f"{what}: {error}"]
        if now is None:
            return [f"{what}: there is no key"]
        if now != OLD.key_id and now not in self.recorded:
            found.append(f"{what}: a key is in use that no record names")
        if OLD.key_id not in {now, kept}:
            found.append(f"{what}: the old key is lost")
        found += [
            f"{what}: a record names a key that is lost"
            for key_id in self.recorded
            if key_id not in {now, coming}
        ]
        if now == OLD.key_id and not found:
            again = Rotation(disk, self.rotate, recorded=list(self.recorded))
            done = again.run()
            if len(set(again.recorded)) != 1 or done.new.key_id != key_in(disk, FILE):
                found.append(f"{what}: the second try does not end what the first began")
        return found


def problems_with(
    make: Callable[[], MemoryFilesystem] = MemoryFilesystem, rotate: Rotate = rotate_key_file
) -> list[str]:
    """Fail every call, and stop before and after every call."""
    whole = Rotation.begin(make, rotate)
    whole.run()
    problems = [
        *whole.problems(whole.disk.kill_process(), "done, then killed"),
        *whole.problems(whole.disk.lose_power(), "done, then power lost"),
    ]
    for number in range(1, len(whole.disk.calls) + 1):
        for effect in EFFECTS:
            one = Rotation.begin(make, rotate)
            start = len(one.disk.calls)
            one.disk.fault = fail_call(start + number, Fault(effect=effect))
            with suppress(OSError):
                one.run()
            one.disk.fault = None
            for ending, left in endings(one.disk).items():
                problems += one.problems(left, f"call {number} {effect}, {ending}")
        problems += _stopped(Rotation.begin(make, rotate), number)
    return problems


def endings(disk: MemoryFilesystem) -> dict[str, MemoryFilesystem]:
    return {"killed": disk.kill_process(), "power lost": disk.lose_power()}


def _stopped(one: Rotation, number: int) -> list[str]:
    moments: list[tuple[list[str], dict[str, MemoryFilesystem]]] = []

    def stop(call: Call) -> None:
        if call.number == number:
            moments.append((list(one.recorded), endings(one.disk)))

    one.disk.fault = stop
    one.run()
    [(recorded, disks)] = moments
    one.recorded = recorded
    return [
        problem
        for ending, left in disks.items()
        for problem in one.problems(left, f"{ending} before call {number}")
    ]


def renames_first(
    path: str,
    *,
    filesystem: MemoryFilesystem,
    clock: object,
    warn: object,
    record: Callable[[Signer, Signer], None],
) -> Rotated:
    """A rotation that writes its record last."""
    old = Ed25519Signer.from_pem(filesystem.read(path, 0, 1000))
    new = Ed25519Signer.generate()
    old_path = f"{path}.old-{old.key_id}"
    replace_file(filesystem, old_path, old.to_pem(), is_durable=True)
    replace_file(filesystem, path, new.to_pem(), is_durable=True)
    record(old, new)
    return Rotated(path=path, old_path=old_path, old_key_id=old.key_id, new=new)


def keeps_no_next(
    path: str,
    *,
    filesystem: MemoryFilesystem,
    clock: object,
    warn: object,
    record: Callable[[Signer, Signer], None],
) -> Rotated:
    """A rotation whose new key is only in memory while its record is written."""
    old = Ed25519Signer.from_pem(filesystem.read(path, 0, 1000))
    new = Ed25519Signer.generate()
    old_path = f"{path}.old-{old.key_id}"
    replace_file(filesystem, old_path, old.to_pem(), is_durable=True)
    record(old, new)
    replace_file(filesystem, path, new.to_pem(), is_durable=True)
    return Rotated(path=path, old_path=old_path, old_key_id=old.key_id, new=new)


def keeps_no_old(
    path: str,
    *,
    filesystem: MemoryFilesystem,
    clock: object,
    warn: object,
    record: Callable[[Signer, Signer], None],
) -> Rotated:
    """A rotation that forgets the old key."""
    old = Ed25519Signer.from_pem(filesystem.read(path, 0, 1000))
    new = Ed25519Signer.generate()
    record(old, new)
    replace_file(filesystem, path, new.to_pem(), is_durable=True)
    return Rotated(path=path, old_path="", old_key_id=old.key_id, new=new)


class TestRotation:
    """Whenever it stops, the file holds a key that verifiers can learn of, and no key is lost."""

    def test_a_rotation_ends_with_the_new_key_and_keeps_the_old_one(self) -> None:
        rotation = Rotation.begin(MemoryFilesystem, rotate_key_file)
        done = rotation.run()
        assert key_in(rotation.disk, FILE) == done.new.key_id != OLD.key_id
        assert key_in(rotation.disk, done.old_path) == done.old_key_id == OLD.key_id
        assert rotation.recorded == [done.new.key_id]
        assert rotation.disk.names("/keys") == ["agent.pem", f"agent.pem.old-{OLD.key_id}"]
        assert rotation.warned == []

    def test_stopped_or_failing_anywhere_it_leaves_a_state_to_work_with(self) -> None:
        assert problems_with() == []

    @pytest.mark.parametrize("rotate", [renames_first, keeps_no_next, keeps_no_old])
    def test_in_another_order_something_is_lost(self, rotate: Rotate) -> None:
        assert problems_with(rotate=rotate)

    @pytest.mark.parametrize("make", [NoSync, NoDirectorySync])
    def test_without_syncs_something_is_lost(self, make: Callable[[], MemoryFilesystem]) -> None:
        assert problems_with(make)

    def test_if_the_record_is_not_stored_nothing_changes_and_the_next_try_uses_the_same_key(
        self,
    ) -> None:
        rotation = Rotation.begin(MemoryFilesystem, rotate_key_file)
        refused: list[str] = []

        def refuse(old: Signer, new: Signer) -> None:
            refused.append(new.key_id)
            raise SpoolFailedError("the disk is full, record NOT stored")

        with pytest.raises(SpoolFailedError):
            rotate_key_file(
                FILE,
                filesystem=rotation.disk,
                clock=SystemClock(),
                warn=rotation.warned.append,
                record=refuse,
            )
        assert key_in(rotation.disk, FILE) == OLD.key_id
        assert rotation.run().new.key_id == refused[0]

    def test_a_next_file_that_holds_the_old_key_is_no_new_key(self) -> None:
        rotation = Rotation.begin(MemoryFilesystem, rotate_key_file)
        replace_file(rotation.disk, f"{FILE}.next", OLD.to_pem())
        assert rotation.run().new.key_id != OLD.key_id

    def test_a_next_file_that_holds_no_key_is_named_and_left(self) -> None:
        rotation = Rotation.begin(MemoryFilesystem, rotate_key_file)
        replace_file(rotation.disk, f"{FILE}.next", b"something else")
        with pytest.raises(ConfigError, match=r"agent\.pem\.next"):
            rotation.run()
        assert rotation.recorded == []
        assert key_in(rotation.disk, FILE) == OLD.key_id

    def test_a_file_without_a_key_is_not_rotated(self) -> None:
        rotation = Rotation.begin(MemoryFilesystem, rotate_key_file)
        replace_file(rotation.disk, FILE, b"no key")
        before = rotation.disk.names("/keys")
        with pytest.raises(ConfigError, match=FILE):
            rotation.run()
        assert rotation.disk.names("/keys") == before

    def test_two_at_once_are_one_after_the_other(self) -> None:
        rotation = Rotation.begin(MemoryFilesystem, rotate_key_file)
        chain: list[tuple[str, str]] = []

        def rotate() -> None:
            rotate_key_file(
                FILE,
                filesystem=rotation.disk,
                clock=SystemClock(),
                warn=rotation.warned.append,
                record=lambda old, new: chain.append((old.key_id, new.key_id)),
            )

        threads = [threading.Thread(target=rotate) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(chain) == 4
        assert chain[0][0] == OLD.key_id
        assert [new for _, new in chain[:-1]] == [old for old, _ in chain[1:]]
        assert key_in(rotation.disk, FILE) == chain[-1][1]

    def test_a_lock_that_is_never_given_up_is_an_error_and_no_hang(self) -> None:
        class Instant(SystemClock):
            def wait(self, event: threading.Event, timeout_ns: int) -> bool:
                return False

        rotation = Rotation.begin(MemoryFilesystem, rotate_key_file)
        rotation.disk.try_lock(f"{FILE}.lock")
        with pytest.raises(TimeoutError, match="another process"):
            make_key_file(FILE, filesystem=rotation.disk, clock=Instant())


def made(disk: MemoryFilesystem) -> str:
    return make_key_file(FILE, filesystem=disk, clock=SystemClock()).key_id


def empty_disk(make: Callable[[], MemoryFilesystem] = MemoryFilesystem) -> MemoryFilesystem:
    disk = make()
    MemoryFilesystem.make_directory(disk, "/keys")
    MemoryFilesystem.sync_directory(disk, "/")
    return disk


class TestNewKey:
    """A new file with a new key."""

    def test_a_file_that_is_there_is_never_replaced(self) -> None:
        disk = empty_disk()
        key_id = made(disk)
        with pytest.raises(ConfigError, match="NOT changed"):
            made(disk)
        assert key_in(disk, FILE) == key_id
        assert disk.names("/keys") == ["agent.pem"]

    def test_what_was_given_is_durable(self) -> None:
        disk = empty_disk()
        key_id = made(disk)
        assert key_in(disk.lose_power(), FILE) == key_id

    def test_a_failing_disk_leaves_no_key_or_the_whole_one(self) -> None:
        whole = empty_disk()
        made(whole)
        for number in range(len(whole.calls) + 1):
            for effect in EFFECTS:
                disk = empty_disk()
                disk.fault = fail_call(number, Fault(effect=effect))
                try:
                    key_id: str | None = made(disk)
                except OSError:
                    key_id = None
                for left in endings(disk).values():
                    assert key_in(left, FILE) == key_id if key_id else True
                    key_in(left, FILE)  # raises for half a key


def trusted(name: str = "an agent") -> TrustedKey:
    return TrustedKey(
        public_key=Ed25519Signer.generate().public_key,
        name=name,
        added=datetime(2026, 11, 24, tzinfo=UTC),
    )


def trust_on(disk: MemoryFilesystem, warned: list[str] | None = None) -> Trust:
    heard: list[str] = [] if warned is None else warned
    return read_trust(TRUST, filesystem=disk, warn=heard.append)


def add(disk: MemoryFilesystem, key: TrustedKey) -> Trust:
    return change_trust(
        TRUST,
        lambda before: before.adding(key),
        filesystem=disk,
        clock=SystemClock(),
        warn=lambda _: None,
    )


class TestTrustOnDisk:
    """The file is the old one or the new one, whatever happens."""

    def test_the_first_key_begins_the_file(self) -> None:
        disk = empty_disk()
        key, other = trusted(), trusted()
        assert add(disk, key).keys == (key,)
        assert add(disk, other) == trust_on(disk.lose_power()) == Trust(keys=(key, other))
        assert disk.names("/keys") == ["trust.json"]

    def test_a_failing_disk_leaves_the_old_file_or_the_new_one(self) -> None:
        key, other = trusted(), trusted()
        whole = empty_disk()
        add(whole, key)
        first = len(whole.calls)
        add(whole, other)
        for number in range(first + 1, len(whole.calls) + 1):
            for effect in EFFECTS:
                disk = empty_disk()
                add(disk, key)
                disk.fault = fail_call(number, Fault(effect=effect))
                try:
                    is_done = bool(add(disk, other))
                except OSError:
                    is_done = False
                for left in endings(disk).values():
                    found = trust_on(left).keys
                    assert found == (key, other) or (found == (key,) and not is_done)

    def test_threads_that_add_at_once_lose_no_key(self) -> None:
        disk = empty_disk()
        wanted = [trusted(str(number)) for number in range(8)]
        threads = [threading.Thread(target=add, args=(disk, key)) for key in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert {key.key_id for key in trust_on(disk).keys} == {key.key_id for key in wanted}

    def test_a_file_that_cannot_be_read_is_a_wrong_setting_that_is_named(self) -> None:
        with pytest.raises(ConfigError, match="No such file") as raised:
            trust_on(empty_disk())
        assert "KAIZEN_OTEL_TRUST_FILE" in str(raised.value)
        assert "NO key is trusted" in str(raised.value)

    def test_a_file_that_cannot_be_used_is_not_written_over(self) -> None:
        disk = empty_disk()
        replace_file(disk, TRUST, b"{}")
        with pytest.raises(ConfigError, match="has no 'keys'"):
            add(disk, trusted())
        assert disk.read(TRUST, 0, 10) == b"{}"

    def test_a_file_that_others_can_change_is_warned_about(self) -> None:
        class Open(MemoryFilesystem):
            def mode(self, path: str) -> int:
                return stat.S_IFREG | 0o664

        disk = empty_disk(Open)
        replace_file(disk, TRUST, b'{"version": 1, "keys": []}')
        warned: list[str] = []
        assert trust_on(disk, warned) == Trust()
        [warning] = warned
        assert "chmod go-w" in warning

    def test_a_disk_that_refuses_is_an_error_of_the_disk(self) -> None:
        disk = empty_disk()
        disk.fault = fail_operation("create", Fault(error=errno.EROFS))
        with pytest.raises(OSError, match="Read-only"):
            add(disk, trusted())


def test_the_lock_file_that_cannot_be_removed_spoils_nothing() -> None:
    """What was done is done; to report an error would have it done again."""
    disk = empty_disk()

    def fault(call: Call) -> Fault | None:
        return Fault() if call.operation == "remove" and call.path.endswith(".lock") else None

    disk.fault = fault
    assert made(disk) == key_in(disk, FILE)
    assert disk.names("/keys") == ["agent.pem", "agent.pem.lock"]
    done = rotate_key_file(
        FILE, filesystem=disk, clock=SystemClock(), warn=lambda _: None, record=lambda *_: None
    )
    assert done.new.key_id == key_in(disk, FILE)
