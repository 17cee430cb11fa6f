"""Wirings for agent frameworks, each removable and none enabled by an import.

An integration observes through the points its framework offers, changes no result and no
exception, and takes itself out again without a trace.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

from kaizen_otel.errors import NotEnabledError

if TYPE_CHECKING:
    from collections.abc import Mapping


@runtime_checkable
class Integration(Protocol):
    """The wiring of one object (an agent, a client) of one framework."""

    framework: str
    """Name of the framework, a key of ``MINIMUM_VERSIONS``."""

    @property
    def enabled(self) -> bool:
        """Whether the object is observed now."""
        ...

    def enable(self) -> None:
        """Wire the object.  A second call does nothing."""
        ...

    def disable(self, timeout: float) -> bool:
        """Take the wiring out and flush for at most ``timeout`` seconds.

        True if everything observed so far has arrived.  A second call does nothing.
        """
        ...


class Requirement(NamedTuple):
    """What must be installed for one integration.

    ``modules`` are imported by the framework itself as soon as it runs, but installed only by
    the extra.
    """

    distribution: str
    minimum_version: tuple[int, ...]
    extra: str
    modules: tuple[str, ...]


MINIMUM_VERSIONS: Final[Mapping[str, Requirement]] = {
    # 2.46.1's bare install cannot run an agent: core/agent_loop.py imports the OTLP/gRPC exporter.
    "kaizen": Requirement(
        distribution="kailash-kaizen",
        minimum_version=(2, 46),
        extra="kaizen",
        modules=("kaizen", "opentelemetry.exporter.otlp.proto.grpc"),
    ),
}
"""The oldest version of each framework that this release was run with."""

_VERSION: Final = "Version:"
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def require(framework: str) -> None:
    """Check that a framework is installed, new enough and complete.

    Raises ``NotEnabledError`` naming the missing package, extra or version.  Reads installed
    metadata only; the framework is not imported.
    """
    check(MINIMUM_VERSIONS[framework])


def check(requirement: Requirement) -> None:
    """Check one requirement; raises ``NotEnabledError`` as ``require`` does."""
    wanted = ".".join(str(number) for number in requirement.minimum_version)
    remedy = f"pip install 'kaizen-otel[{requirement.extra}]'"
    try:
        found = _installed_version(requirement.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise NotEnabledError(
            f"{requirement.distribution} is not installed, nothing is observed: {remedy}"
        ) from None
    if version_numbers(found) < requirement.minimum_version:
        raise NotEnabledError(
            f"{requirement.distribution} {found} is older than {wanted}, nothing is observed: "
            f"{remedy} --upgrade"
        )
    missing = [name for name in requirement.modules if not _importable(name)]
    if missing:
        raise NotEnabledError(
            f"{requirement.distribution} {found} is installed without {', '.join(missing)}, which "
            f"it needs itself to run an agent, nothing is observed: {remedy}"
        )


def _installed_version(distribution: str) -> str:
    """Return the version that is installed; raises ``PackageNotFoundError``.

    ``importlib.metadata.version`` parses the whole file as a message, the README in it included:
    half of what enabling costs.
    """
    found = importlib.metadata.distribution(distribution)
    headers = (found.read_text("METADATA") or "").partition("\n\n")[0]
    for line in headers.splitlines():
        if line.startswith(_VERSION):
            return line.removeprefix(_VERSION).strip()
    return found.version


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison (``2.46.1rc1`` -> 2, 46, 1)."""
    found = _NUMBERS.match(version)
    return tuple(int(number) for number in found.group().split(".")) if found else ()


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False
