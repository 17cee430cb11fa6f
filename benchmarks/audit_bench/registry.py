"""Which stores are compared, in the order of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.audit_bench import contenders
from benchmarks.audit_bench.floor import GroupCommit

if TYPE_CHECKING:
    from benchmarks.audit_bench.contenders import Contender

CONTENDERS: Final[tuple[type[Contender], ...]] = (
    contenders.Raw, GroupCommit, contenders.Ours, contenders.OursRecord, contenders.OursUnsynced,
    contenders.KaizenManager, contenders.KaizenStorage, contenders.KailashStore,
    contenders.StockSdk,
)  # fmt: skip


def make(name: str, size: int) -> Contender:
    """Make one contender; ``size`` is what one stored record of ours takes, in bytes."""
    found = next(contender for contender in CONTENDERS if contender.name == name)
    return found(size) if issubclass(found, contenders.Raw) else found()
