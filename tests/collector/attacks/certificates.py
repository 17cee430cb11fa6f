"""Certificates for the attacks: ours, a stranger's, and some that must not count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.certs import LOCAL_HOSTS, Authority
from kaizen_otel._edges import OsFilesystem, SystemClock

if TYPE_CHECKING:
    from pathlib import Path

_DAY_NS: Final = 86_400 * 10**9


class LongAgo(SystemClock):
    """A clock that is behind by a quarter more than a certificate lasts."""

    def time_ns(self) -> int:
        return super().time_ns() - 120 * _DAY_NS


def issue(folder: Path) -> None:
    """Our authority (ca), the auditors' (audit/ca), a stranger's; three that must not count."""
    ours = _authority(folder)
    ours.issue("server", "server", hosts=LOCAL_HOSTS)
    ours.issue("agent", "client")
    for name in ("audit", "stranger"):
        _authority(folder / name).issue("client", "client")
    past = Authority.load(folder, filesystem=OsFilesystem(), clock=LongAgo())
    past.issue("expired", "client")
    # An authority's own certificate is signed by itself.
    alone = _authority(folder / "alone")
    for end in (".crt", ".key"):
        (folder / f"self-signed{end}").write_bytes((alone.directory / f"ca{end}").read_bytes())


def _authority(folder: Path) -> Authority:
    return Authority.make(folder, filesystem=OsFilesystem(), clock=SystemClock())
