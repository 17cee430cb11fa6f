"""Stand-ins behave as what they stand for."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from collections.abc import Iterable, Sized
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import pytest

from kaizen_otel.integrations._kaizen_proxies import is_stand_in, stand_in, stood_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Untyped: TypeAlias = Any
"""A stand-in, which is of no class that a type checker could know."""


@dataclass
class Store:
    items: list[int] = field(default_factory=lambda: [1, 2])

    def load(self, n: int = 0) -> int:
        return self.items[n]

    async def load_later(self) -> int:
        return self.items[0]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[int]:
        return iter(self.items)

    def __getitem__(self, n: int) -> int:
        return self.items[n]

    def __contains__(self, item: object) -> bool:
        return item in self.items

    def __call__(self) -> str:
        return "called"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __add__(self, other: Store) -> Store:
        return Store(self.items + other.items)


def doubled(method: Callable[..., Untyped]) -> Callable[..., Untyped]:
    if inspect.iscoroutinefunction(method):

        async def later(*args: Untyped, **kwargs: Untyped) -> Untyped:
            return 2 * await method(*args, **kwargs)

        return later

    def now(*args: Untyped, **kwargs: Untyped) -> Untyped:
        return 2 * method(*args, **kwargs)

    return now


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def stand(store: Store) -> Untyped:
    return stand_in(store, {"load": doubled, "load_later": doubled, "absent": doubled})


def test_named_methods_are_replaced_and_others_are_not(stand: Untyped) -> None:
    assert stand.load() == 2
    assert stand.load(n=1) == 4
    assert asyncio.run(stand.load_later()) == 2
    assert inspect.iscoroutinefunction(stand.load_later)
    assert not inspect.iscoroutinefunction(stand.load)
    assert stand.items == [1, 2]
    assert not hasattr(stand, "absent")


def test_it_reports_the_class_of_what_it_stands_for(stand: Untyped, store: Store) -> None:
    assert isinstance(stand, Store)
    assert isinstance(stand, Sized)
    assert isinstance(stand, Iterable)
    assert is_stand_in(stand)
    assert not is_stand_in(store)
    assert stood_for(stand) is store
    assert stood_for(store) is store
    assert vars(stand) == vars(store)
    assert [f.name for f in fields(stand)] == ["items"]
    assert dir(stand) == dir(store)
    assert repr(stand) == repr(store)


def test_it_equals_what_it_stands_for_in_both_directions(stand: Untyped, store: Store) -> None:
    assert stand == store
    assert store == stand
    assert stand == stand_in(store, {})
    assert stand != Store([9])


def test_operators_are_passed_on(stand: Untyped, store: Store) -> None:
    assert len(stand) == 2
    assert list(stand) == [1, 2]
    assert stand[1] == 2
    assert 2 in stand
    assert stand() == "called"
    assert (stand + stand).items == [1, 2, 1, 2]
    with stand as entered:
        assert entered is store
    assert bool(stand)
    store.items.clear()
    assert not stand


def test_attributes_are_set_and_deleted_on_what_it_stands_for(stand: Untyped, store: Store) -> None:
    stand.extra = 5
    assert store.extra == 5  # type: ignore[attr-defined]
    del stand.extra
    assert not hasattr(store, "extra")


def test_a_method_that_is_exchanged_is_replaced_again(stand: Untyped, store: Store) -> None:
    assert stand.load() == 2
    store.load = lambda: 21  # type: ignore[method-assign,assignment,misc]
    assert stand.load() == 42


def test_a_replaced_method_is_made_once(stand: Untyped) -> None:
    assert stand.load is stand.load


def test_copies_and_pickles_are_of_what_it_stands_for(stand: Untyped, store: Store) -> None:
    for made in (copy.copy(stand), copy.deepcopy(stand), pickle.loads(pickle.dumps(stand))):
        assert type(made) is Store
        assert made == store
        assert made is not store


def test_hash_follows_what_it_stands_for(stand: Untyped) -> None:
    class Hashable:
        pass

    inner = Hashable()
    assert hash(stand_in(inner, {})) == hash(inner)
    with pytest.raises(TypeError):
        hash(stand)  # a dataclass with equality has no hash
