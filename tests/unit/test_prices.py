"""Prices by a user's table and by the package's, and what is wrong with a table."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel._prices import PackagePrices, PriceFile, Usage, open_prices
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TABLE: dict[str, Any] = {
    "version": "2026-11",
    "currency": "USD",
    "models": [
        {"model": "big-1", "provider": "acme", "input": 3, "output": 12, "cached_input": 0.3},
        {"model": "big-*", "input": 4, "output": 16},
        {"model": "free", "input": 0, "output": 0},
    ],
}


def table(tmp_path: Path, content: object = TABLE) -> str:
    path = tmp_path / "prices.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "cost"),
    [
        ("acme", "big-1", Usage(1_000_000, 500_000), 3 + 6),
        ("acme", "big-1", Usage(1_000_000, 0, 1_000_000), 0.3),
        ("acme", "big-1", Usage(100, 0, 10**9), 100 * 0.3 / 1e6),  # more cached than sent
        ("other", "big-1", Usage(1_000_000, 0), 4),  # the first row is another provider's
        ("", "big-2", Usage(0, 1_000_000), 16),
        ("acme", "big-2", Usage(1_000_000, 0, 1_000_000), 4),  # no price of its own for the cache
        ("acme", "free", Usage(5, 5), 0),
        ("acme", "Big-1", Usage(5, 5), None),
        ("acme", "small", Usage(5, 5), None),
    ],
)
def test_the_first_row_that_fits_gives_the_price(
    tmp_path: Path, provider: str, model: str, usage: Usage, cost: float | None
) -> None:
    prices = PriceFile(table(tmp_path))
    for _ in range(2):  # the second time it is remembered
        found = prices.cost(provider, model, usage)
        assert found == (None if cost is None else pytest.approx(cost))


def row(**changes: object) -> dict[str, Any]:
    return {**TABLE, "models": [{"model": "m", "input": 1, "output": 1, **changes}]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read"),
        ([], "it is no object"),
        ({**TABLE, "version": 3}, "it has no text 'version'"),
        ({**TABLE, "currency": ""}, "it has no text 'currency'"),
        ({**TABLE, "models": []}, "has no list 'models'"),
        ({**TABLE, "models": [4]}, r"models\[0\] is no object"),
        (row(model=None), r"models\[0\] has no text 'model'"),
        (row(provider=7), r"models\[0\] has no text 'provider'"),
        (row(output=None), r"models\[0\]: 'output' is None"),
        (row(input=True), r"models\[0\]: 'input' is True"),
        (row(input="3"), r"models\[0\]: 'input' is '3'"),
        (row(cached_input=-1), r"models\[0\]: 'cached_input' is -1, a price is not less than 0"),
        (json.dumps(row()).replace('"output": 1', '"output": NaN'), r"'output' is nan"),
        (row(per_token=1), r"models\[0\] has 'per_token', which is none of its keys"),
    ],
)
def test_a_wrong_table_is_refused_with_the_place_and_the_setting(
    tmp_path: Path, content: object, told: str
) -> None:
    with pytest.raises(ConfigError, match=rf"KAIZEN_OTEL_PRICES=.*prices.json: .*{told}"):
        open_prices(table(tmp_path, content))


def test_a_missing_file_and_a_missing_package_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="correct the file"):
        open_prices(str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ConfigError, match=r"pip install 'kaizen-otel\[prices\]'"):
        open_prices("genai-prices")
    assert open_prices("") is None


def test_the_package_is_asked_with_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def calc_price(usage: object, model: str, *, provider_id: str | None) -> SimpleNamespace:
        asked.append((usage, model, provider_id))
        if model == "unknown":
            raise LookupError(model)
        return SimpleNamespace(total_price="0.25")

    package = ModuleType("genai_prices")
    vars(package).update(__version__="9.9", calc_price=calc_price, Usage=lambda **kw: kw)
    monkeypatch.setitem(sys.modules, "genai_prices", package)
    prices = PackagePrices()
    assert prices.version == "genai-prices 9.9"
    assert prices.cost("gcp.vertex_ai", "gemini", Usage(10, 2, 50)) == 0.25
    assert prices.cost("", "unknown", Usage(1, 1)) is None
    tokens = {"input_tokens": 10, "output_tokens": 2, "cache_read_tokens": 10}
    assert asked[0] == (tokens, "gemini", "google")
    assert asked[1][2] is None
