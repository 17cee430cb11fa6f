"""Whether a machine is large enough is said before anything is started."""

from __future__ import annotations

import pytest

from kaizen_otel._stack.compose_layout import with_required
from kaizen_otel._stack.room import MIB, Room, refuse_too_small
from kaizen_otel.errors import SetupError

ENOUGH = Room(memory_free=4096 * MIB, disk_free=4096 * MIB, directory="/state")


def test_enough_is_no_objection() -> None:
    refuse_too_small(ENOUGH, memory_min=4096 * MIB, disk_min=4096 * MIB)


def test_too_little_memory_says_how_much_there_is_and_is_needed_and_the_ways_out() -> None:
    with pytest.raises(
        SetupError,
        match=r"not started: 4096 MiB of memory .* needs 5000 MiB.*--component.*--any-size",
    ):
        refuse_too_small(ENOUGH, memory_min=5000 * MIB, disk_min=0)


def test_too_little_disk_names_the_place() -> None:
    with pytest.raises(SetupError, match=r"4096 MiB are free on the disk of /state .* 5000 MiB"):
        refuse_too_small(ENOUGH, memory_min=0, disk_min=5000 * MIB)


def test_what_cannot_be_found_out_is_no_objection() -> None:
    unknown = Room(memory_free=None, disk_free=None, directory="/state")
    refuse_too_small(unknown, memory_min=1 << 60, disk_min=1 << 60)


def test_a_component_brings_what_it_cannot_do_without() -> None:
    assert with_required(["collector"]) == ("jaeger", "prometheus", "elasticsearch", "collector")
    assert with_required(["grafana"]) == ("prometheus", "grafana")
    assert with_required(["jaeger"]) == ("jaeger",)
