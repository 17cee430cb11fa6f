"""What calls to models cost, by a table that the user chose; without one nothing is priced.

The table is the file of ``KAIZEN_OTEL_PRICES``, or that of the package ``genai-prices``.
"""

from __future__ import annotations

import importlib
import json
import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTING: Final = "KAIZEN_OTEL_PRICES"
PACKAGE: Final = "genai-prices"
_PER: Final = 1_000_000
_KNOWN_MAX: Final = 1024
_RATES: Final = ("input", "output", "cached_input")

#: The conventions' names of providers, where the package has another word.
_PROVIDERS: Final[Mapping[str, str]] = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}


class Usage(NamedTuple):
    """Tokens of one call; ``cached`` are those of ``input`` that were read from a cache."""

    input: int
    output: int
    cached: int = 0


class Prices(Protocol):
    """A table of prices: which one it is, and in what currency (ISO 4217)."""

    version: str
    currency: str

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        """The cost of one call; None if the table does not know the model."""


def open_prices(setting: str) -> Prices | None:
    """Return the table that a setting names, None if it is empty.

    Raises ``ConfigError`` for a file that cannot be read or is not a table, and if the package is
    not installed.
    """
    if not setting:
        return None
    return PackagePrices() if setting == PACKAGE else PriceFile(setting)


class PriceFile:
    """A table in JSON: ``version``, ``currency`` and a list of ``models``.

    Each has ``model`` and, if only one provider's is meant, ``provider``, both with ``*`` for any
    text, and prices of a million tokens: ``input``, ``output`` and, if another, ``cached_input``.
    The first that fits counts.
    """

    def __init__(self, path: str) -> None:
        try:
            found: object = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _wrong(path, f"cannot be read ({error})") from error
        table = _mapping(found, path, "it")
        self.version = _text(table, "version", path, "it")
        self.currency = _text(table, "currency", path, "it")
        models = table.get("models")
        if not isinstance(models, list) or not models:
            raise _wrong(path, "has no list 'models'")
        self._rows = [
            _row(each, path, f"models[{number}]")
            for number, each in enumerate(cast("list[object]", models))
        ]
        self._known: dict[tuple[str, str], tuple[float, float, float] | None] = {}

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        """The cost of one call; None if the table does not know the model."""
        key = (provider, model)
        if key not in self._known:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[key] = self._find(provider, model)
        rates = self._known[key]
        if rates is None:
            return None
        cached = min(usage.cached, usage.input)
        new = usage.input - cached
        return (new * rates[0] + usage.output * rates[1] + cached * rates[2]) / _PER

    def _find(self, provider: str, model: str) -> tuple[float, float, float] | None:
        for row in self._rows:
            if fnmatchcase(provider, row.provider) and fnmatchcase(model, row.model):
                return row.rates
        return None


class PackagePrices:
    """The table of ``genai-prices`` (optional), as installed: nothing is fetched."""

    currency = "USD"

    def __init__(self) -> None:
        try:
            self._package: Any = importlib.import_module("genai_prices")
        except ImportError as error:
            raise ConfigError(
                f"{SETTING}={PACKAGE}, but the package is not installed: pip install "
                "'kaizen-otel[prices]', or give the path of a file of prices"
            ) from error
        self.version = f"{PACKAGE} {self._package.__version__}"

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        """The cost of one call; None if the table does not know the model."""
        tokens = self._package.Usage(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=min(usage.cached, usage.input),
        )
        try:
            found = self._package.calc_price(
                tokens, model, provider_id=_PROVIDERS.get(provider, provider) or None
            )
        except LookupError:
            return None
        return float(found.total_price)


class _Row(NamedTuple):
    provider: str
    model: str
    rates: tuple[float, float, float]


def _row(value: object, path: str, where: str) -> _Row:
    row = _mapping(value, path, where)
    unknown = sorted(set(row) - {"provider", "model", *_RATES})
    if unknown:
        raise _wrong(path, f"{where} has {unknown[0]!r}, which is none of its keys")
    provider = _text(row, "provider", path, where) if "provider" in row else "*"
    rates = [_rate(row, name, path, where) for name in _RATES]
    return _Row(provider, _text(row, "model", path, where), (rates[0], rates[1], rates[2]))


def _rate(row: Mapping[str, object], name: str, path: str, where: str) -> float:
    value = row.get(name, row.get("input") if name == "cached_input" else None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(path, f"{where}: {name!r} is {value!r}, not a price of a million tokens")
    if not math.isfinite(value) or value < 0:
        raise _wrong(path, f"{where}: {name!r} is {value!r}, a price is not less than 0")
    return float(value)


def _mapping(value: object, path: str, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _wrong(path, f"{where} is no object")
    return cast("Mapping[str, object]", value)


def _text(table: Mapping[str, object], name: str, path: str, where: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise _wrong(path, f"{where} has no text {name!r}")
    return value


def _wrong(path: str, what: str) -> ConfigError:
    return ConfigError(
        f"{SETTING}={path}: {what}; nothing is priced: correct the file (docs/how-to/costs.md), "
        f"or set {SETTING} to {PACKAGE}"
    )
