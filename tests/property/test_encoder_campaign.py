"""``make campaign-encoder``, short: 5,000 inputs, and proof that a wrong encoder is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.campaigns.encoder import run
from tests.campaigns.encoder_inputs import CHECKS

if TYPE_CHECKING:
    from random import Random

    from tests.campaigns.encoder_inputs import Pair

pytestmark = pytest.mark.property


def test_what_every_encoder_writes_means_what_the_official_classes_say() -> None:
    result = run(5_000, seed=6)
    assert result.failures == []
    assert result.inputs.total() == 5_000
    assert set(result.inputs) == set(CHECKS)


def test_an_encoder_that_leaves_out_one_bit_is_noticed() -> None:
    def sabotaged(r: Random) -> Pair:
        found, expected = CHECKS["Span"](r)
        assert isinstance(found, Span)
        found.flags &= ~0x200  # that the parent is remote
        return found, expected

    result = run(200, seed=6, checks={"Span": sabotaged})
    assert 0 < result.failed["Span"] < 200
    assert (
        f"input {result.failures[0].split('input ')[1].split(' ')[0]} of seed 6"
        in (result.failures[0])
    )


def test_an_encoder_that_raises_is_noticed() -> None:
    def raises(r: Random) -> Pair:
        raise ValueError(r.random())

    assert run(3, seed=0, checks={"Span": raises}).failed["Span"] == 3
