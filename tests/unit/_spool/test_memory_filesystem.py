"""The disk in memory: it must be at least as unkind as a real one, or the zeros mean nothing."""

from __future__ import annotations

import errno
import random

import pytest

from kaizen_otel.testing.memory_filesystem import (
    Fault,
    MemoryFilesystem,
    fail_call,
    fail_operation,
)


def _file(filesystem: MemoryFilesystem, path: str = "/f") -> int:
    handle = filesystem.create(path)
    filesystem.sync_directory("/")
    return handle


def test_only_what_was_synced_survives_a_power_loss() -> None:
    filesystem = MemoryFilesystem()
    handle = _file(filesystem)
    filesystem.write(handle, b"safe")
    filesystem.sync(handle)
    filesystem.write(handle, b"lost")
    assert filesystem.read("/f", 0, 99) == b"safelost"
    assert filesystem.lose_power().read("/f", 0, 99) == b"safe"
    assert filesystem.kill_process().read("/f", 0, 99) == b"safelost"


def test_a_name_that_was_not_synced_is_gone_with_its_file() -> None:
    filesystem = MemoryFilesystem()
    handle = filesystem.create("/f")
    filesystem.write(handle, b"x")
    filesystem.sync(handle)
    assert filesystem.lose_power().names("/") == []


def test_a_rename_or_removal_that_was_not_synced_is_undone() -> None:
    filesystem = MemoryFilesystem()
    filesystem.close(_file(filesystem, "/a"))
    filesystem.rename("/a", "/b")
    assert filesystem.names("/") == ["b"]
    assert filesystem.lose_power().names("/") == ["a"]
    filesystem.remove("/b")
    assert filesystem.lose_power().names("/") == ["a"]


def test_after_a_failed_sync_the_next_one_says_yes_and_brings_nothing_back() -> None:
    """What Linux does: the dropped bytes are marked clean (fsyncgate)."""
    filesystem = MemoryFilesystem()
    handle = _file(filesystem)
    filesystem.write(handle, b"dropped")
    filesystem.fault = fail_operation("sync", Fault())
    with pytest.raises(OSError, match="Input/output"):
        filesystem.sync(handle)
    filesystem.fault = None
    filesystem.write(handle, b"kept")
    filesystem.sync(handle)
    assert filesystem.lose_power().read("/f", 0, 99) == bytes(7) + b"kept"


def test_a_fault_can_happen_and_be_reported_all_the_same() -> None:
    filesystem = MemoryFilesystem()
    handle = _file(filesystem)
    filesystem.fault = fail_operation("write", Fault(effect="full"))
    with pytest.raises(OSError, match="Input/output"):
        filesystem.write(handle, b"there")
    filesystem.fault = fail_operation("sync", Fault(effect="full"))
    with pytest.raises(OSError, match="Input/output"):
        filesystem.sync(handle)
    assert filesystem.lose_power().read("/f", 0, 99) == b"there"


def test_a_short_write_takes_half_and_reports_no_error() -> None:
    filesystem = MemoryFilesystem(fault=fail_call(3, Fault(effect="short")))
    handle = _file(filesystem)
    assert filesystem.write(handle, b"12345678") == 4
    assert filesystem.size("/f") == 4


def test_a_full_disk_takes_what_fits_and_then_nothing() -> None:
    filesystem = MemoryFilesystem(bytes_max=6)
    handle = _file(filesystem)
    assert filesystem.write(handle, b"1234") == 4
    assert filesystem.write(handle, b"5678") == 2
    with pytest.raises(OSError, match="space") as caught:
        filesystem.write(handle, b"x")
    assert caught.value.errno == errno.ENOSPC


def test_truncation_is_durable_with_the_next_sync() -> None:
    filesystem = MemoryFilesystem()
    handle = _file(filesystem)
    filesystem.write(handle, b"123456")
    filesystem.sync(handle)
    filesystem.truncate(handle, 2)
    assert filesystem.lose_power().size("/f") == 6
    filesystem.sync(handle)
    assert filesystem.lose_power().size("/f") == 2


def test_torn_power_losses_keep_any_part_of_what_was_not_synced() -> None:
    seen: set[bytes] = set()
    for seed in range(60):
        filesystem = MemoryFilesystem()
        handle = _file(filesystem)
        filesystem.write(handle, b"s" * 10)
        filesystem.sync(handle)
        filesystem.write(handle, b"a" * 600 + b"b" * 600)
        content = filesystem.lose_power(random.Random(seed)).read("/f", 0, 9999)
        assert content.startswith(b"s" * 10)
        seen.add(content)
    assert len(seen) > 4
    assert any(b"\x00" in content for content in seen), "holes"


def test_locks_are_exclusive_and_end_with_the_process() -> None:
    filesystem = MemoryFilesystem()
    handle = filesystem.try_lock("/lock")
    assert handle is not None
    assert filesystem.try_lock("/lock") is None
    assert filesystem.kill_process().try_lock("/lock") is not None
    filesystem.unlock(handle)
    assert filesystem.try_lock("/lock") is not None


def test_paths_that_are_wrong_give_the_errors_of_a_real_disk() -> None:
    filesystem = MemoryFilesystem()
    filesystem.make_directory("/d")
    filesystem.close(filesystem.create("/d/f"))
    for call, kind in (
        (lambda: filesystem.make_directory("/d"), FileExistsError),
        (lambda: filesystem.create("/d/f"), FileExistsError),
        (lambda: filesystem.make_directory("/none/d"), FileNotFoundError),
        (lambda: filesystem.read("/d/none", 0, 1), FileNotFoundError),
        (lambda: filesystem.rename("/none", "/x"), FileNotFoundError),
        (lambda: filesystem.remove("/d"), IsADirectoryError),
        (lambda: filesystem.names("/d/f"), NotADirectoryError),
        (lambda: filesystem.size("/d/f/g"), NotADirectoryError),
        (lambda: filesystem.remove_directory("/d"), OSError),
    ):
        with pytest.raises(kind):
            call()


def test_a_boot_has_a_name_and_the_next_one_another() -> None:
    filesystem = MemoryFilesystem()
    assert filesystem.kill_process().boot_id() == filesystem.boot_id()
    assert filesystem.lose_power().boot_id() != filesystem.boot_id()
