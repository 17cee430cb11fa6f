"""Which traces are recorded; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


class Sampler:
    """The standard samplers by name (OTEL_TRACES_SAMPLER)."""

    NAMES: Final = (
        "always_on", "always_off", "traceidratio", "parentbased_always_on",
        "parentbased_always_off", "parentbased_traceidratio",
    )  # fmt: skip

    def __init__(self, name: str, argument: str = "", *, warn: Callable[[str], None]) -> None:
        """An unknown name or ratio is warned about and replaced by the default."""
        if name not in self.NAMES:
            warn(
                f"OTEL_TRACES_SAMPLER={name!r} is unknown, parentbased_always_on is used: set it "
                f"to one of {', '.join(self.NAMES)}"
            )
            name = "parentbased_always_on"
        self._parent_based = name.startswith("parentbased_")
        ratio = {"always_on": 1.0, "always_off": 0.0}.get(name.removeprefix("parentbased_"))
        if ratio is None:
            try:
                ratio = float(argument or "1.0")
            except ValueError:
                ratio = -1.0
            if not 0.0 <= ratio <= 1.0:
                warn(
                    f"OTEL_TRACES_SAMPLER_ARG={argument!r} is not a ratio from 0 to 1, 1.0 is used"
                )
                ratio = 1.0
        # Everything is sampled, unless a parent says otherwise.
        self.is_full = ratio == 1.0
        # TraceIdRatioBased compares the lower 64 bits, as the SDK's does, so both doors agree.
        self._bound = round(ratio * (1 << 64))

    def sampled(self, trace_id: bytes, *, parent: bool | None) -> bool:
        """Whether to record; ``parent`` is the parent's decision, or None for a root."""
        if self._parent_based and parent is not None:
            return parent
        return self.is_full or int.from_bytes(trace_id[8:], "big") < self._bound
