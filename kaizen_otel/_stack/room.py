"""Whether this machine has the memory and the disk for the stack, before anything is started."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from kaizen_otel.errors import SetupError

MIB = 1 << 20
# For a component; the native OpenSearch has a heap of 256 MiB and took 384 in our tests.
COMPONENT_MEMORY_MIN = 256 * MIB
DISK_MIN = 2048 * MIB
# Images of the backends come on top, if they have to be fetched.
IMAGES_DISK_MIN = 6144 * MIB
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What there is, in bytes; None where it cannot be found out, which is no objection."""

    memory_free: int | None
    disk_free: int | None
    directory: str


def find_room(directory: Path) -> Room:
    """The memory that is available now and the free disk where ``directory`` is or would be."""
    place = directory
    while not place.exists():
        place = place.parent
    return Room(
        memory_free=_memory_free(),
        disk_free=shutil.disk_usage(place).free,
        directory=str(place),
    )


def refuse_too_small(room: Room, *, memory_min: int, disk_min: int) -> None:
    """Raise SetupError if there is less memory or disk than is needed, in bytes."""
    if room.memory_free is not None and room.memory_free < memory_min:
        raise SetupError(
            f"the stack was not started: {room.memory_free // MIB} MiB of memory are available and "
            f"it needs {memory_min // MIB} MiB; end other programs, start fewer parts "
            "(--component), or try it with --any-size"
        )
    if room.disk_free is not None and room.disk_free < disk_min:
        raise SetupError(
            f"the stack was not started: {room.disk_free // MIB} MiB are free on the disk of "
            f"{room.directory} and it needs {disk_min // MIB} MiB; make room, or try it with "
            "--any-size"
        )


def _memory_free() -> int | None:
    try:
        text = _MEMINFO.read_text(encoding="ascii")
    except OSError:  # not Linux
        return None
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
