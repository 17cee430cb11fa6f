"""The real disk behind the seam: modes, locks between processes, what macOS and Windows get."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import OsFilesystem, secret_bytes

if TYPE_CHECKING:
    from pathlib import Path

_HOLDER = """
import sys
from kaizen_otel._edges import OsFilesystem
assert OsFilesystem().try_lock(sys.argv[1]) is not None
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def filesystem() -> OsFilesystem:
    return OsFilesystem()


def test_files_are_the_owners_and_are_never_overwritten(
    filesystem: OsFilesystem, tmp_path: Path
) -> None:
    folder, path = str(tmp_path / "d"), str(tmp_path / "d" / "f")
    filesystem.make_directory(folder)
    handle = filesystem.create(path)
    assert filesystem.write(handle, b"hello") == 5
    filesystem.sync(handle)
    filesystem.truncate(handle, 2)
    assert filesystem.write(handle, b"y") == 1
    filesystem.close(handle)
    filesystem.sync_directory(folder)
    assert (filesystem.size(path), filesystem.read(path, 0, 99)) == (3, b"hey")
    assert filesystem.read(path, 1, 1) == b"e"
    with pytest.raises(FileExistsError):
        filesystem.create(path)
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "d" / "f").stat().st_mode & 0o777 == 0o600
    filesystem.rename(path, path + "2")
    assert filesystem.names(folder) == ["f2"]
    filesystem.remove(path + "2")
    filesystem.remove_directory(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process_however_that_ends(
    filesystem: OsFilesystem, tmp_path: Path
) -> None:
    path = str(tmp_path / "lock")
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert filesystem.try_lock(path) is None
    process.kill()
    process.communicate()
    handle = filesystem.try_lock(path)
    assert handle is not None
    assert filesystem.try_lock(path) is None, "also within one process"
    filesystem.unlock(handle)
    again = filesystem.try_lock(path)
    assert again is not None
    filesystem.unlock(again)


def test_a_lock_on_a_removed_file_is_no_lock(filesystem: OsFilesystem, tmp_path: Path) -> None:
    """The file is removed between opening and locking: whoever did it is gone with the stream."""

    class Removing(OsFilesystem):
        def __init__(self) -> None:
            super().__init__()
            flock = self._flock

            def lock_after_removal(handle: int, flags: int) -> None:
                (tmp_path / "lock").unlink()
                flock(handle, flags)

            self._flock = lock_after_removal  # type: ignore[assignment]

    assert Removing().try_lock(str(tmp_path / "lock")) is None
    with pytest.raises(FileNotFoundError):
        filesystem.try_lock(str(tmp_path / "none" / "lock"))


def test_a_lock_that_the_system_cannot_give_is_an_error(tmp_path: Path) -> None:
    class NoLocks(OsFilesystem):
        def __init__(self) -> None:
            super().__init__()

            def refuse(handle: int, flags: int) -> None:
                del handle, flags
                raise OSError(37, "No locks available")

            self._flock = refuse  # type: ignore[assignment]

    with pytest.raises(OSError, match="No locks"):
        NoLocks().try_lock(str(tmp_path / "lock"))


def test_on_macos_a_sync_is_the_full_one(tmp_path: Path) -> None:
    """``fsync`` leaves the bytes in the drive's cache there."""
    calls: list[tuple[int, int]] = []
    filesystem = OsFilesystem()
    filesystem._full_sync = 51

    def control(handle: int, command: int) -> None:
        calls.append((handle, command))

    filesystem._control = control  # type: ignore[assignment]
    handle = filesystem.create(str(tmp_path / "f"))
    filesystem.sync(handle)
    filesystem.close(handle)
    assert calls == [(handle, 51)]


def test_on_windows_audit_says_one_clear_error() -> None:
    program = (
        "import os\n"
        "from kaizen_otel._edges import OsFilesystem\n"
        "from kaizen_otel.errors import PlatformError\n"
        "os.name = 'nt'\n"
        "try: OsFilesystem()\n"
        "except PlatformError as error: print(error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "enable_audit=False" in answer.stdout


def test_boot_and_secrets(filesystem: OsFilesystem) -> None:
    assert filesystem.boot_id() == OsFilesystem().boot_id()
    assert len(secret_bytes(32)) == 32
    assert secret_bytes(32) != secret_bytes(32)
