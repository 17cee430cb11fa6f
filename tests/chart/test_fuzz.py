"""Values that the schema takes give a release that Kubernetes takes, or a refusal that helps."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.chart.kit.fuzz import Tally, faults_of, judge, names_a_key
from tests.chart.kit.generated import leaves, value_sets
from tests.chart.kit.rendering import Values, parse
from tests.chart.kit.variants import Charts, Variant, variant

COUNT = 300
ACCEPTED_SHARE_MIN = 0.6


def test_no_accepted_value_set_breaks_the_render_and_most_are_accepted(charts: Charts) -> None:
    tally = Tally()

    @settings(
        max_examples=COUNT,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(value_sets())
    def run(drawn: tuple[Variant, Values]) -> None:
        base, changed = drawn
        outcome, faults = judge(charts, base, changed)
        tally.outcomes[outcome] += 1
        note(f"{base.name} with {json.dumps(changed)}")
        assert outcome != "broken", faults

    run()
    assert tally.total >= COUNT
    assert tally.accepted_share >= ACCEPTED_SHARE_MIN, tally.outcomes


def test_a_fault_in_a_render_is_found(charts: Charts) -> None:
    """The saboteur of the test above: each of these would be let through by a weaker judge."""
    good = charts.manifests(variant("dev"))
    path = next(path for path in good if path.endswith("gateway/deployment.yaml"))
    text = good[path]
    for old, new in (
        ("kind: Deployment", "kind: Deploymnt"),
        ("replicas: 1", "replicas: many"),
        ("name: otlp-http", "name: otlp-grpc"),
        ("name: data, mountPath", "name: dat, mountPath"),
    ):
        assert old in text
        assert faults_of(parse({**good, path: text.replace(old, new)})), new
    assert faults_of(parse({**good, "again.yaml": text}))
    assert not faults_of(parse(good))


def test_a_refusal_that_names_no_key_is_no_help() -> None:
    assert names_a_key("audit.replicas is 0. Please set audit.replicas to at least 1.")
    assert not names_a_key('nil pointer evaluating interface {}.size in "chart/templates/a.yaml"')


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_every_leaf_of_the_schema_can_be_drawn(data: st.DataObject) -> None:
    path, _ = data.draw(st.sampled_from([one for one in leaves() if one[0][0] != "global"]))
    assert path
