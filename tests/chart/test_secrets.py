"""No value of a Secret is rendered, a Secret that is not there is refused, nor is one in clear."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chart.kit.fuzz import is_taken_by_the_schema
from tests.chart.kit.generated import leaves, placed, value_sets
from tests.chart.kit.rendering import RefusedError, Values, merged, parse
from tests.chart.kit.secrets import CANARY, Named, holding, named_secrets, with_canaries
from tests.chart.kit.variants import Charts, Variant, variant, variants

COUNT = 25
#: The variants that between them name every Secret that a value can name.
NAMING = ("agents", "secured", "customised", "oidc", "scaled")


def secrets_of(name: str) -> dict[str, Named]:
    return {one.path: one for one in named_secrets(variant(name).values)}


NAMED = [(name, path) for name in NAMING for path in secrets_of(name)]


@pytest.mark.parametrize("name", [one.name for one in variants()])
def test_no_value_of_a_secret_is_rendered(charts: Charts, name: str) -> None:
    """Helm may look Secrets up, so that a missing one is told; what is in them stays there."""
    one = with_canaries(variant(name), {})
    text = charts.text(one)
    assert holding(parse(text), CANARY) == []
    assert CANARY not in "".join(text.values())


@settings(max_examples=COUNT, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(drawn=value_sets())
def test_no_value_of_a_secret_is_rendered_whatever_the_values_are(
    charts: Charts, drawn: tuple[Variant, Values]
) -> None:
    one = with_canaries(*drawn)
    if not is_taken_by_the_schema(one.values):
        return
    with contextlib.suppress(RefusedError):
        assert CANARY not in "".join(charts.text(one).values())


def test_a_template_that_prints_what_it_looked_up_is_caught(charts: Charts) -> None:
    """The saboteur of the two above."""
    one = with_canaries(variant("prod"), {})
    path = "templates/serviceaccount.yaml"
    leaking = (
        '\n{{- $name := "jaeger-token" }}'
        '\nannotations: {{ (lookup "v1" "Secret" .Release.Namespace $name).data | toJson }}\n'
    )
    charts.text(one)
    changed = one.adapted({path: charts.file(path) + leaking})
    charts.renderer.load("leaking", changed, base=one.chart)
    assert holding(parse(charts.renderer.manifests(one.values, chart="leaking")), CANARY)


def test_every_place_that_can_name_a_secret_is_named_by_some_variant() -> None:
    wanted = {
        ".".join(path[:-1])
        for path, _ in leaves()
        if path[-1] == "name" and path[-2].endswith("Secret")
    }
    found = {path for _, path in NAMED} | set(secrets_of("with-its-secrets"))
    assert wanted - found == set()


def without(one: Variant, kind: str, secret: str, key: str = "") -> Variant:
    """The same cluster without a Secret, or without a key of one."""
    cluster: dict[str, Any] = copy.deepcopy(dict(one.cluster))
    cluster[kind]["another"] = {"data": {}}
    if key:
        del cluster[kind][secret]["data"][key]
    else:
        del cluster[kind][secret]
    return Variant(name=one.name, values=one.values, has_apis=one.has_apis, cluster=cluster)


@pytest.mark.parametrize(("name", "path"), NAMED)
def test_a_secret_that_is_not_there_is_refused_with_the_value_that_names_it(
    charts: Charts, name: str, path: str
) -> None:
    """Before anything changes, instead of pods that wait for ever."""
    secret = secrets_of(name)[path].name
    with pytest.raises(RefusedError) as refused:
        charts.text(without(with_canaries(variant(name), {}), "Secret", secret))
    assert f'"{secret}"' in refused.value.message
    naming = [key for key, other in secrets_of(name).items() if other.name == secret]
    assert any(f"{key} names the Secret" in refused.value.message for key in naming)


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, path in NAMED if secrets_of(name)[path].keys]
)
def test_a_key_that_a_secret_does_not_have_is_refused_with_the_value_that_names_it(
    charts: Charts, name: str, path: str
) -> None:
    named = secrets_of(name)[path]
    one = with_canaries(variant(name), {})
    with pytest.raises(RefusedError) as refused:
        charts.text(without(one, "Secret", named.name, named.keys[0]))
    assert f'names the key "{named.keys[0]}" of the Secret "{named.name}"' in refused.value.message


SECRET_WORDS = (
    *("password", "passwd", "token", "secret", "api_key", "apikey", "authorization"),
    *("Authorization", "client_secret", "access_token", "bearer_token", "credentials", "key_pem"),
)


@settings(max_examples=COUNT, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    tier=st.sampled_from(["gateway", "agent", "audit"]),
    word=st.sampled_from(SECRET_WORDS),
    around=st.lists(st.sampled_from(["exporters", "otlp", "auth", "headers", "list"]), max_size=4),
    in_list=st.booleans(),
    before=st.sampled_from(["", "Bearer ", "Basic "]),
    lines=st.booleans(),
)
def test_a_secret_in_clear_in_the_configuration_is_refused(
    charts: Charts, tier: str, word: str, around: list[str], in_list: bool, before: str, lines: bool
) -> None:
    """A ConfigMap is readable to many."""
    text = f"{before}{CANARY}" + ("\nsecond line" if lines else "")
    inner: Values = {word: text}
    config = placed((*around, "last"), [inner] if in_list else inner)
    values = merged(placed((tier, "config"), config), {"agent": {"enabled": True}})
    with pytest.raises(RefusedError) as refused:
        charts.text(variant("dev"), values)
    assert f"{tier}.config holds a secret in clear ({word})" in refused.value.message
    assert CANARY not in refused.value.message
