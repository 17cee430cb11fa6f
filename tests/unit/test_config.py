from __future__ import annotations

from pathlib import Path

import pytest

from kaizen_otel.config import Config, content_capture
from kaizen_otel.errors import ConfigError


def read(**variables: str) -> Config:
    return Config.from_environment({"HOME": "/home/me", **variables})


def test_without_anything_telemetry_goes_to_localhost_over_http() -> None:
    config = read()
    assert config.endpoints["traces"].endpoint == "http://localhost:4318/v1/traces"
    assert config.endpoints["logs"].protocol == "http/protobuf"
    assert config.audit.endpoint.endpoint == "http://localhost:4319/v1/logs"
    assert config.warnings == ()


def test_the_common_endpoint_gets_the_signals_path_and_a_signals_own_is_used_as_it_is() -> None:
    config = read(
        OTEL_EXPORTER_OTLP_ENDPOINT="https://c.example:1/base/",
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT="http://other:2/mine",
    )
    assert config.endpoints["traces"].endpoint == "https://c.example:1/base/v1/traces"
    assert config.endpoints["logs"].endpoint == "http://other:2/mine"
    assert config.audit.endpoint.endpoint == "https://c.example:4319/v1/logs"


def test_grpc_takes_a_bare_host_and_is_secure_unless_told() -> None:
    secure = read(OTEL_EXPORTER_OTLP_PROTOCOL="grpc", OTEL_EXPORTER_OTLP_ENDPOINT="c:9")
    plain = read(
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_ENDPOINT="c",
        OTEL_EXPORTER_OTLP_INSECURE="true",
    )
    assert secure.endpoints["traces"].endpoint == "https://c:9"
    assert plain.endpoints["traces"].endpoint == "http://c:4317"


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [("jaeger", None, "http://jaeger:4317"), (None, 14317, "http://localhost:14317"),
     ("jaeger", 1, "http://jaeger:1")],
)  # fmt: skip
def test_either_half_of_the_jaeger_address_selects_grpc(
    host: str | None, port: int | None, expected: str
) -> None:
    config = Config.from_environment({}, jaeger_host=host, jaeger_port=port)
    assert {e.endpoint for e in config.endpoints.values()} == {expected}
    assert {e.protocol for e in config.endpoints.values()} == {"grpc"}


@pytest.mark.parametrize(("host", "port"), [("a/b", None), ("", None), (None, 0), (None, 70000)])
def test_a_wrong_jaeger_address_is_refused_by_its_argument(
    host: str | None, port: int | None
) -> None:
    with pytest.raises(ConfigError, match="jaeger_"):
        Config.from_environment({}, jaeger_host=host, jaeger_port=port)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("KAIZEN_OTEL_DURABILITY", "eternal"),
        ("KAIZEN_OTEL_AUDIT_ENDPOINT", "here"),
        ("KAIZEN_OTEL_SPAN_STYLE", "baroque"),
    ],
)
def test_an_unusable_value_becomes_the_default_and_one_warning_that_names_the_variable(
    name: str, value: str
) -> None:
    config = read(**{name: value})
    assert any(name in warning for warning in config.warnings)
    assert len(config.warnings) == 1


def test_headers_are_decoded_and_secrets_are_in_no_warning_and_no_repr() -> None:
    config = read(OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20tok123,bad header=s3cret")
    assert config.endpoints["traces"].headers == (("authorization", "Bearer tok123"),)
    assert "s3cret" not in str(config.warnings)
    assert "tok123" not in repr(config)


def test_a_header_cannot_smuggle_a_line() -> None:
    config = read(OTEL_EXPORTER_OTLP_HEADERS="a=b%0d%0aHost: evil")
    assert config.endpoints["traces"].headers == ()
    assert len(config.warnings) == 1


def test_limits_follow_the_specifications_order() -> None:
    config = read(OTEL_ATTRIBUTE_COUNT_LIMIT="5", OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="7")
    assert (config.limits.attribute_count, config.limits.attribute_length) == (5, 7)
    assert read(OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="9").limits.attribute_count == 9
    assert read().limits.attribute_length is None


def test_the_spool_is_in_the_state_folder_unless_told() -> None:
    assert read(XDG_STATE_HOME="/s").audit.directory == Path("/s/kaizen-otel/spool")
    assert read(KAIZEN_OTEL_SPOOL_DIR="/x").audit.directory == Path("/x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "default"), ("http", "default"), ("gen_ai_latest_experimental", "latest"),
     ("http,gen_ai_latest_experimental/dup", "dup")],
)  # fmt: skip
def test_the_vocabulary_is_chosen_by_the_standard_variable(text: str, expected: str) -> None:
    assert read(OTEL_SEMCONV_STABILITY_OPT_IN=text).vocabulary == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("", False), ("NO_CONTENT", False), ("span_only", True)]
)
def test_content_is_captured_only_when_asked_for(text: str, expected: bool) -> None:
    variable = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    assert content_capture({variable: text}) is expected


def test_keys_of_subjects_are_off_until_a_directory_is_named() -> None:
    off = Config.from_environment({}).audit.subjects
    assert (off.keys, off.master_key, off.is_encrypting) == (None, None, False)
    found = Config.from_environment(
        {
            "KAIZEN_OTEL_SUBJECT_KEYS": "/var/lib/subjects",
            "KAIZEN_OTEL_SUBJECT_MASTER_KEY": "c2VjcmV0",
            "KAIZEN_OTEL_AUDIT_CONTENT": "encrypted",
        }
    )
    assert str(found.audit.subjects.keys) == "/var/lib/subjects"
    assert found.audit.subjects.is_encrypting
    assert "c2VjcmV0" not in repr(found)
    assert found.warnings == ()


def test_encryption_without_keys_is_warned_about() -> None:
    (text,) = Config.from_environment({"KAIZEN_OTEL_AUDIT_CONTENT": "encrypted"}).warnings
    assert "KAIZEN_OTEL_SUBJECT_KEYS" in text


def test_anchors_go_to_the_logs_unless_told_and_to_a_file_if_named() -> None:
    audit = Config.from_environment({}).audit
    assert (audit.anchors, audit.anchor_file) == ("logs", None)
    told = {"KAIZEN_OTEL_ANCHORS": "none", "KAIZEN_OTEL_ANCHOR_FILE": "/mnt/worm/anchors.jsonl"}
    audit = Config.from_environment(told).audit
    assert (audit.anchors, str(audit.anchor_file)) == ("none", "/mnt/worm/anchors.jsonl")
    wrong = Config.from_environment({"KAIZEN_OTEL_ANCHORS": "off"})
    assert wrong.audit.anchors == "logs"
    assert any("KAIZEN_OTEL_ANCHORS" in warning for warning in wrong.warnings)


def test_one_signal_may_have_a_token_of_its_own_and_audit_takes_that_of_logs() -> None:
    config = read(KAIZEN_OTEL_TOKEN_FILE="/all", KAIZEN_OTEL_LOGS_TOKEN_FILE="/logs")
    assert config.endpoints["traces"].token_file == "/all"
    assert config.endpoints["metrics"].token_file == "/all"
    assert config.endpoints["logs"].token_file == "/logs"
    assert config.audit.endpoint.token_file == "/logs"
    assert config.warnings == ()
    assert "/all" not in repr(config), "somebody may put the token itself there"


def test_audit_may_have_credentials_of_its_own_and_sends_none_of_telemetrys_then() -> None:
    telemetry = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20t,x-tenant=a",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/crt",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/key",
    }
    inherited = read(**telemetry).audit.endpoint
    assert inherited.headers == (("authorization", "Bearer t"), ("x-tenant", "a"))
    assert (inherited.certificate, inherited.client_certificate, inherited.client_key) == (
        "/ca", "/crt", "/key",
    )  # fmt: skip
    config = read(
        **telemetry,
        KAIZEN_OTEL_AUDIT_TOKEN_FILE="/audit/token",
        KAIZEN_OTEL_AUDIT_CERTIFICATE="/audit/ca",
        KAIZEN_OTEL_AUDIT_CLIENT_CERTIFICATE="/audit/pem",
    )
    own = config.audit.endpoint
    assert (own.token_file, own.headers) == ("/audit/token", (("x-tenant", "a"),))
    assert (own.certificate, own.client_certificate, own.client_key) == (
        "/audit/ca", "/audit/pem", None,
    )  # fmt: skip
    assert config.endpoints["logs"].client_key == "/key"
    assert config.warnings == ()


def test_headers_of_audit_replace_those_of_logs_and_the_token_of_telemetry() -> None:
    common = {"KAIZEN_OTEL_TOKEN_FILE": "/t", "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a"}
    named = read(**common, KAIZEN_OTEL_AUDIT_HEADERS="authorization=Basic%20x").audit.endpoint
    assert (named.headers, named.token_file) == ((("authorization", "Basic x"),), None)
    other = read(**common, KAIZEN_OTEL_AUDIT_HEADERS="x-tenant=b").audit.endpoint
    assert (other.headers, other.token_file) == ((("x-tenant", "b"),), "/t")


def test_headers_of_one_signal_win_over_the_token_of_all() -> None:
    config = read(
        KAIZEN_OTEL_TOKEN_FILE="/t", OTEL_EXPORTER_OTLP_TRACES_HEADERS="authorization=Basic%20x"
    )
    assert config.endpoints["traces"].token_file is None
    assert config.endpoints["logs"].token_file == "/t"
    assert config.warnings == ()


@pytest.mark.parametrize(
    "variables",
    [
        {"KAIZEN_OTEL_TOKEN_FILE": "/t", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=s3cret,a=b"},
        {
            "KAIZEN_OTEL_AUDIT_TOKEN_FILE": "/t",
            "KAIZEN_OTEL_AUDIT_HEADERS": "authorization=s3cret,a=b",
        },
    ],
)
def test_two_answers_to_who_we_are_are_warned_about_and_the_file_wins(
    variables: dict[str, str],
) -> None:
    config = read(**variables)
    endpoint = config.audit.endpoint
    assert (endpoint.token_file, endpoint.headers) == ("/t", (("a", "b"),))
    (warning,) = config.warnings
    assert all(name in warning for name in variables)
    assert "s3cret" not in warning


def test_a_key_of_audit_without_its_certificate_is_warned_about() -> None:
    config = read(KAIZEN_OTEL_AUDIT_CLIENT_KEY="/key")
    assert config.audit.endpoint.client_key is None
    assert "KAIZEN_OTEL_AUDIT_CLIENT_CERTIFICATE" in config.warnings[0]


def test_the_official_exporters_know_no_token_file_and_that_is_said() -> None:
    (warning,) = read(KAIZEN_OTEL_EXPORTER="stock", KAIZEN_OTEL_TOKEN_FILE="/t").warnings
    assert "KAIZEN_OTEL_TOKEN_FILE" in warning
    assert read(KAIZEN_OTEL_EXPORTER="stock", KAIZEN_OTEL_AUDIT_TOKEN_FILE="/t").warnings == ()
