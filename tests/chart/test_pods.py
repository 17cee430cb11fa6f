"""What the values do to the pods of the tiers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.chart.kit.parts import (
    collector,
    config_name,
    files_read,
    mounted_files,
    named,
    tiers_of,
    variables,
    workload,
)
from tests.chart.kit.rendering import merged
from tests.chart.kit.variants import Charts, variant, variants

NAMES = [one.name for one in variants()]


# ------------------------------------------------------------------- files and where they come from
@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_configuration_names_is_mounted_from_a_secret(
    charts: Charts, name: str
) -> None:
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        container = collector(release, tier)
        pod = workload(release, tier)["spec"]["template"]["spec"]
        config = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
        texts = [
            re.sub(r"(?m)^\s*#.*$", "", text)
            for text in named(release, "ConfigMap", config)["data"].values()
        ]
        assert files_read(container, texts) <= mounted_files(container, pod), (name, tier)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_mounted_that_nobody_reads(charts: Charts, name: str) -> None:
    """A Secret in a pod that does not need it is one more place to steal it from."""
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        container = collector(release, tier)
        pod = workload(release, tier)["spec"]["template"]["spec"]
        config = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
        texts = list(named(release, "ConfigMap", config)["data"].values())
        assert mounted_files(container, pod) <= files_read(container, texts), (name, tier)


@pytest.mark.parametrize("name", NAMES)
def test_no_tier_has_a_variable_that_its_configuration_does_not_read(
    charts: Charts, name: str
) -> None:
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        pod = workload(release, tier)["spec"]["template"]["spec"]
        config = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
        text = "\n".join(named(release, "ConfigMap", config)["data"].values())
        unread = {key for key in variables(collector(release, tier)) if f"${{env:{key}" not in text}
        # Read by Go itself, and by our own exporter.
        assert unread <= {"GOMEMLIMIT", "KAIZEN_OTEL_DEAD_LETTER_DIR"}, (name, tier)


# ----------------------------------------------------------------------------------- authentication
CREDENTIALS = [
    ("secured", "gateway", "KAIZEN_OTEL_TOKENS_FILE", "telemetry-tokens"),
    ("secured", "gateway", "KAIZEN_OTEL_AUDIT_TOKENS_FILE", "telemetry-tokens"),
    ("secured", "audit", "KAIZEN_OTEL_AUDIT_TOKENS_FILE", "audit-tokens"),
    ("secured", "agent", "KAIZEN_OTEL_GATEWAY_TOKEN_FILE", "agent-token"),
    ("basic", "gateway", "KAIZEN_OTEL_HTPASSWD_FILE", "telemetry-tokens"),
    ("basic", "audit", "KAIZEN_OTEL_AUDIT_HTPASSWD_FILE", "audit-tokens"),
    ("oidc", "agent", "KAIZEN_OTEL_GATEWAY_CLIENT_SECRET_FILE", "agent-token"),
    ("oidc", "gateway", "KAIZEN_OTEL_OIDC_CA_FILE", "provider-ca"),
    ("oidc", "audit", "KAIZEN_OTEL_OIDC_CA_FILE", "provider-ca"),
    ("oidc", "agent", "KAIZEN_OTEL_GATEWAY_OIDC_CA_FILE", "provider-ca"),
    ("secured", "gateway", "KAIZEN_OTEL_TLS_CLIENT_CA_FILE", "telemetry-clients"),
    ("secured", "audit", "KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE", "audit-clients"),
    ("secured", "agent", "KAIZEN_OTEL_GATEWAY_CERT_FILE", "agent-tls"),
    ("secured", "agent", "KAIZEN_OTEL_GATEWAY_CA_FILE", "receivers-tls"),
    ("cert-manager", "agent", "KAIZEN_OTEL_GATEWAY_CERT_FILE", "release-kaizen-otel-agent-tls"),
]


@pytest.mark.parametrize(("name", "tier", "variable", "secret"), CREDENTIALS)
def test_a_credential_comes_from_the_secret_that_is_meant_for_this_tier(
    charts: Charts, name: str, tier: str, variable: str, secret: str
) -> None:
    release = charts.release(variant(name))
    container = collector(release, tier)
    path = variables(container)[variable]
    assert path is not None
    folder = path.rpartition("/")[0]
    mount = next(one for one in container["volumeMounts"] if one["mountPath"] == folder)
    pod = workload(release, tier)["spec"]["template"]["spec"]
    volume = next(one for one in pod["volumes"] if one["name"] == mount["name"])
    assert volume["secret"]["secretName"] == secret


def test_the_gateway_holds_no_credential_of_the_audit_tier(charts: Charts) -> None:
    """Who takes over the gateway must not be able to write into the trail."""
    text = json.dumps(workload(charts.release(variant("secured")), "gateway"))
    assert "audit-tokens" not in text
    assert "audit-clients" not in text


@pytest.mark.parametrize("tier", ["gateway", "agent"])
def test_only_the_audit_tier_listens_for_audit_records(charts: Charts, tier: str) -> None:
    release = charts.release(variant("secured"))
    pod = workload(release, tier)["spec"]["template"]["spec"]
    config = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
    added = yaml.safe_load(named(release, "ConfigMap", config)["data"]["release.yaml"])
    assert added["receivers"]["otlp/audit"]["protocols"]["http"]["endpoint"] == "127.0.0.1:4319"
    assert "audit" not in {port["name"] for port in collector(release, tier)["ports"]}


# --------------------------------------------------------------------- configurations are immutable
CHANGES: list[dict[str, Any]] = [
    {"destinations": {"jaeger": {"tls": {"enabled": True}}}},
    {"destinations": {"elasticsearch": {"server": "opensearch"}}},
    {"gateway": {"config": {"extensions": {"zpages": {}}}}},
    {"gateway": {"tailSampling": {"enabled": True}}},
    {"tls": {"enabled": True, "serverSecret": {"name": "server"}}},
    {
        "destinations": {
            "extra": [{"name": "x", "protocol": "grpc", "endpoint": "x:1", "signals": ["logs"]}]
        }
    },
]


@pytest.mark.parametrize("values", CHANGES, ids=lambda values: json.dumps(values)[:60])
def test_every_change_of_a_configuration_is_a_new_immutable_config_map(
    charts: Charts, values: dict[str, Any]
) -> None:
    before = charts.release(variant("dev"))
    after = charts.render(values)
    assert config_name(before, "gateway") != config_name(after, "gateway")
    assert named(after, "ConfigMap", config_name(after, "gateway"))["immutable"] is True


@pytest.mark.parametrize(
    "values",
    [
        {"gateway": {"replicas": 3}},
        {"destinations": {"jaeger": {"endpoint": "other:4317"}}},
        {"podLabels": {"team": "a"}},
        {"image": {"tag": "0.161.1"}},
    ],
    ids=json.dumps,
)
def test_what_is_no_configuration_keeps_the_config_map(
    charts: Charts, values: dict[str, Any]
) -> None:
    before = charts.release(variant("dev"))
    assert config_name(before, "gateway") == config_name(charts.render(values), "gateway")


# ------------------------------------------------------------------------------------------- memory
MEMORY = [
    ("512Mi", 409),
    ("1Gi", 819),
    ("1.5Gi", 1228),
    ("2G", 1525),
    ("600M", 457),
    ("1073741824", 819),
    (536870912, 409),
    ("524288Ki", 409),
]


@pytest.mark.parametrize(("limit", "mebibytes"), MEMORY)
def test_four_fifths_of_the_memory_limit_are_the_collectors_to_use(
    charts: Charts, limit: str | int, mebibytes: int
) -> None:
    resources = {"resources": {"limits": {"memory": limit}}}
    release = charts.render({"gateway": resources, "agent": {"enabled": True, **resources}})
    for tier in ("gateway", "agent"):
        assert variables(collector(release, tier))["GOMEMLIMIT"] == f"{mebibytes}MiB"
    agent = variables(collector(release, "agent"))
    assert agent["KAIZEN_OTEL_MEMORY_MIB"] == str(mebibytes)


# ------------------------------------------------------------------------------------- destinations
@pytest.mark.parametrize(
    ("signals", "pipelines"),
    [
        (["traces"], {"traces": ["span_metrics", "otlp_grpc/jaeger"]}),
        (["metrics"], {"metrics": ["prometheus_remote_write"]}),
        (["logs"], {"logs": ["elasticsearch"]}),
        (
            ["traces", "logs"],
            {"traces": ["span_metrics", "otlp_grpc/jaeger"], "logs": ["elasticsearch"]},
        ),
    ],
)
def test_one_more_destination_gets_its_signals_and_takes_nothing_from_the_others(
    charts: Charts, signals: list[str], pipelines: dict[str, list[str]]
) -> None:
    """A list in an overlay replaces the list: what stood there must stand in it again."""
    one = {"name": "more", "protocol": "grpc", "endpoint": "more:4317", "signals": signals}
    release = charts.render({"destinations": {"extra": [one]}})
    text = named(release, "ConfigMap", config_name(release, "gateway"))["data"]["release.yaml"]
    added = yaml.safe_load(text)
    found = {name: one["exporters"] for name, one in added["service"]["pipelines"].items()}
    expected = {name: [*there, "otlp_grpc/extra_more"] for name, there in pipelines.items()}
    assert found == expected


def test_with_tail_sampling_one_more_destination_gets_what_jaeger_gets(charts: Charts) -> None:
    one = {"name": "more", "protocol": "grpc", "endpoint": "more:4317", "signals": ["traces"]}
    release = charts.render({"destinations": {"extra": [one]}}, base="sampling")
    text = named(release, "ConfigMap", config_name(release, "gateway"))["data"]["release.yaml"]
    pipelines = yaml.safe_load(text)["service"]["pipelines"]
    assert pipelines["traces"]["exporters"] == ["otlp_grpc/jaeger", "otlp_grpc/extra_more"]


def test_a_queue_of_one_more_destination_is_on_disk_and_has_no_end_of_retries(
    charts: Charts,
) -> None:
    release = charts.release(variant("customised"))
    text = named(release, "ConfigMap", config_name(release, "gateway"))["data"]["release.yaml"]
    exporters = yaml.safe_load(text)["exporters"]
    for name in ("otlp_http/extra_archive", "otlp_grpc/extra_second", "otlp_grpc/extra_plain"):
        assert exporters[name]["sending_queue"]["storage"] == "file_storage/queue"
        assert exporters[name]["retry_on_failure"] == {"max_elapsed_time": "0s"}
    assert exporters["otlp_grpc/extra_second"]["tls"]["insecure"] is False
    assert exporters["otlp_grpc/extra_plain"]["tls"]["insecure"] is True


GIB = 1 << 30
ONE_MORE = {"name": "more", "protocol": "grpc", "endpoint": "more:4317", "signals": ["logs"]}
QUEUES = [
    ("gateway", "1Gi", {}, {"otlp_grpc/jaeger", "elasticsearch"}, 2),
    ("gateway", "10G", {}, {"otlp_grpc/jaeger", "elasticsearch"}, 2),
    (
        "gateway",
        "10Gi",
        {"prometheus": {"protocol": "otlp"}},
        {"otlp_grpc/jaeger", "elasticsearch", "otlp_http/prometheus"},
        3,
    ),
    (
        "gateway",
        "10Gi",
        {"extra": [ONE_MORE]},
        {"otlp_grpc/jaeger", "elasticsearch", "otlp_grpc/extra_more"},
        3,
    ),
    (
        "gateway",
        "10Gi",
        {"extra": [{**ONE_MORE, "signals": ["traces", "metrics", "logs"]}]},
        {"otlp_grpc/jaeger", "elasticsearch", "otlp_grpc/extra_more"},
        5,
    ),
    ("agent", "1Gi", {}, {"otlp_grpc/gateway"}, 3),
]


@pytest.mark.parametrize(("tier", "size", "destinations", "exporters", "count"), QUEUES)
def test_all_queues_together_may_hold_a_third_of_their_volume(
    charts: Charts,
    tier: str,
    size: str,
    destinations: dict[str, Any],
    exporters: set[str],
    count: int,
) -> None:
    """A file of a queue grows to three times what it holds while it is written anew, and what then
    does not fit on the disk is lost.  An exporter has a queue for each pipeline."""
    values = {"destinations": destinations, "agent": {"enabled": True}}
    release = charts.render(merged(values, {tier: {"queue": {"size": size}}}))
    text = named(release, "ConfigMap", config_name(release, tier))["data"]["release.yaml"]
    queues = {
        name: one["sending_queue"]
        for name, one in yaml.safe_load(text)["exporters"].items()
        if "sending_queue" in one
    }
    assert queues.keys() == exporters
    volume = {"1Gi": GIB, "10Gi": 10 * GIB, "10G": 10_000_000_000}[size]
    for queue in queues.values():
        assert queue["sizer"] == "bytes"
        assert volume * 0.99 < queue["queue_size"] * count * 3 <= volume
