"""Parsing of environment variables by the rules of the OpenTelemetry specification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Choice = TypeVar("Choice", bound=str)


def signal_of(signal: str) -> str:
    """The signal's name as variables spell it (``traces`` -> ``TRACES``)."""
    return signal.upper()


def home_directory(named: str | None = None) -> Path:
    """The user's home, or the root folder: a process may have neither HOME nor a user's name.

    Whatever cannot be written there then says which setting names another place.
    """
    try:
        return Path(named) if named else Path.home()
    except RuntimeError:
        return Path("/")


class Environment:
    """Reads variables; what cannot be used becomes its default and a warning.

    Empty is the same as unset (Environment Variable Specification, "Parsing empty value").
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        """Read from ``values``; warnings are collected in order."""
        self._values = values
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep one warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def text(self, name: str) -> str:
        """The value without surrounding space, or an empty string."""
        return self._values.get(name, "").strip()

    def boolean(self, name: str) -> bool:
        """True only for ``true`` in any case; another word than ``false`` is warned about."""
        value = self.text(name).lower()
        if value not in {"", "true", "false"}:
            self.warn(f"{name}={value!r} is neither true nor false, false is used: correct {name}")
        return value == "true"

    def integer(self, name: str, default: int, *, minimum: int) -> int:
        """A whole number of at least ``minimum``, else the default and a warning."""
        value = self.text(name)
        if not value:
            return default
        if not value.isascii() or not value.isdigit() or int(value) < minimum:
            self.warn(
                f"{name}={value!r} is not a whole number of at least {minimum}, "
                f"{'no limit' if default < 0 else default} is used: correct {name}"
            )
            return default
        return int(value)

    def choice(self, name: str, allowed: tuple[Choice, ...], default: Choice) -> Choice:
        """One of the allowed words, else the default and a warning that lists them."""
        value = self.text(name).lower()
        if not value:
            return default
        found = next((word for word in allowed if word == value), None)
        if found is None:
            self.warn(
                f"{name}={value!r} is unknown, {default} is used: set {name} to one of "
                f"{', '.join(allowed)}"
            )
            return default
        return found
