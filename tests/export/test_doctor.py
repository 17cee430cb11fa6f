"""What the doctor says of settings without effect and of the ledgers of all agents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from kaizen_otel import _semconv_sdk
from kaizen_otel._doctor import examine
from kaizen_otel._doctor_findings import worst
from kaizen_otel._export.losses import advice
from kaizen_otel._prometheus_text import prometheus_name
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.errors import ConfigError
from kaizen_otel.testing.capture import OtlpCapture
from tests.export.servers import RawServer, answer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from kaizen_otel._doctor_findings import Finding

pytestmark = pytest.mark.export


@pytest.fixture
def capture() -> Iterator[OtlpCapture]:
    with OtlpCapture() as found:
        yield found


def environ(capture: OtlpCapture, folder: Path, **variables: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": capture.endpoint,
        "KAIZEN_OTEL_AUDIT_ENDPOINT": capture.endpoint,
        "KAIZEN_OTEL_SPOOL_DIR": str(folder),
        **variables,
    }


def of(findings: list[Finding], subject: str) -> list[Finding]:
    return [finding for finding in findings if finding.subject == subject]


def test_variables_without_effect_and_misspelt_ones_are_findings(
    capture: OtlpCapture, tmp_path: Path
) -> None:
    variables = {"OTEL_BSP_MAX_QUEUE_SIZE": "9", "KAIZEN_OTEL_ON_FAIL": "wait"}
    findings = examine(environ=environ(capture, tmp_path, **variables))
    texts = [finding.message for finding in of(findings, "settings")]
    assert len(texts) == 2
    assert "did you mean KAIZEN_OTEL_ON_FAILURE?" in texts[0]
    assert "OTEL_BSP_MAX_QUEUE_SIZE is not read" in texts[1]
    assert worst(findings) == "warning"
    assert of(examine(environ=environ(capture, tmp_path)), "settings") == []


def prometheus(result: list[dict[str, object]]) -> RawServer:
    """Stands for Prometheus: the canary is there, and the ledger's question gets ``result``."""

    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        del number
        head = connection.recv(65536)
        query = parse_qs(urlsplit(head.split(b" ")[1].decode()).query)["query"][0]
        server.requests.append((query.encode(), b""))
        found = [{"metric": {}, "value": [0, "1"]}] if "canary" in query else result
        data = {"resultType": "vector", "result": found}
        body = json.dumps({"status": "success", "data": data}).encode()
        connection.sendall(answer(body=body, content_type="application/json", connection="close"))

    return RawServer(handle)


def test_the_ledgers_of_all_agents_are_read_from_prometheus(
    capture: OtlpCapture, tmp_path: Path
) -> None:
    result: list[dict[str, object]] = [
        {"metric": {"job": "shop", "error_type": "unauthenticated"}, "value": [0, "12"]},
        {"metric": {"job": "desk", "error_type": "queue_full"}, "value": [0, "3"]},
    ]
    with prometheus(result) as server:
        url = f"http://127.0.0.1:{server.port}"
        findings = of(examine(environ=environ(capture, tmp_path), prometheus=url), "ledger")
        (asked,) = [query.decode() for query, _ in server.requests if b"canary" not in query]
    assert [finding.level for finding in findings] == ["warning", "warning"]
    assert "shop has dropped 12 items for the reason unauthenticated" in findings[0].message
    assert "OTEL_EXPORTER_OTLP_HEADERS" in findings[0].fix
    assert "desk has dropped 3 items for the reason buffer_full" in findings[1].message
    assert findings[1].fix == advice("buffer_full")
    # It asks for names that the metrics really have there.
    names = {prometheus_name(one) for one in _semconv_sdk.INSTRUMENTS.values()}
    assert "otel_sdk_exporter_span_exported_total" in names
    assert "otel_sdk_(exporter|processor)_.+_(exported|processed)_total" in asked


def test_without_a_loss_the_doctor_says_so(capture: OtlpCapture, tmp_path: Path) -> None:
    with prometheus([]) as server:
        url = f"http://127.0.0.1:{server.port}"
        (finding,) = of(examine(environ=environ(capture, tmp_path), prometheus=url), "ledger")
    assert finding.level == "ok"


def test_credentials_that_are_set_are_said_and_nothing_of_them(
    capture: OtlpCapture, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("s3cret")
    variables = {
        "KAIZEN_OTEL_TOKEN_FILE": str(tmp_path / "token"),
        "KAIZEN_OTEL_AUDIT_HEADERS": "authorization=s3cret",
    }
    findings = examine(environ=environ(capture, tmp_path / "spool", **variables))
    assert [finding.message for finding in of(findings, "credentials")] == [
        "traces, metrics, logs: KAIZEN_OTEL_TOKEN_FILE set",
        "audit: KAIZEN_OTEL_AUDIT_HEADERS set",
    ]
    assert worst(findings) in {"ok", "note"}
    assert "s3cret" not in str(findings)
    assert str(tmp_path / "token") not in str(findings)
    assert of(examine(environ=environ(capture, tmp_path / "spool")), "credentials") == []


def test_a_token_file_that_cannot_be_used_and_one_that_is_refused_are_findings(
    capture: OtlpCapture, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "token").write_text("s3cret")
    capture.answer = 401
    variables = {
        "KAIZEN_OTEL_TOKEN_FILE": str(tmp_path / "token"),
        "KAIZEN_OTEL_AUDIT_TOKEN_FILE": str(tmp_path / "empty"),
    }
    findings = examine(environ=environ(capture, tmp_path / "spool", **variables))
    (traces,), (audit,) = of(findings, "traces"), of(findings, "audit")
    assert "the file of KAIZEN_OTEL_TOKEN_FILE" in traces.message
    assert "KAIZEN_OTEL_AUDIT_TOKEN_FILE is empty" in audit.message
    assert {traces.level, audit.level} == {"error"}
    assert "setting that is named" in audit.fix
    assert "s3cret" not in str(findings)


def records(capture: OtlpCapture) -> list[str]:
    """The names of the audit records; the canary among the logs has a severity."""
    return [one["eventName"] for one in capture.logs() if "severityNumber" not in one]


def test_a_record_is_sent_with_the_agents_key_and_never_with_another(
    capture: OtlpCapture, tmp_path: Path
) -> None:
    """Whatever else it wrote into the trail would be tampering for its verifiers."""
    (audit,) = of(examine(environ=environ(capture, tmp_path)), "audit")
    assert "no record was sent" in audit.message
    assert records(capture) == []
    key = tmp_path / "agents.key"
    key.write_bytes(Ed25519Signer.generate().to_pem())
    key.chmod(0o600)
    variables = environ(capture, tmp_path, KAIZEN_OTEL_SIGNING_KEY=str(key))
    (audit,) = of(examine(environ=variables), "audit")
    assert (audit.level, "accepted by the Collector" in audit.message) == ("ok", True)
    assert records(capture) == [
        "kaizen.audit.started",
        "kaizen.doctor.canary",
        "kaizen.audit.stopped",
    ]
    variables["KAIZEN_OTEL_AUDIT_DIR"] = str(tmp_path / "elsewhere")
    (audit,) = of(examine(environ=variables), "audit")
    assert audit.level == "error"
    assert "KAIZEN_OTEL_AUDIT_DIR" in audit.fix


def test_what_an_agent_would_warn_of_at_its_start_is_a_finding(
    capture: OtlpCapture, tmp_path: Path
) -> None:
    variables = {
        "OTEL_TRACES_SAMPLER": "alway_on",
        "KAIZEN_OTEL_PRICES": str(tmp_path / "prices"),
        "KAIZEN_OTEL_SIGNING_KEY": str(tmp_path / "key"),
    }
    findings = examine(environ=environ(capture, tmp_path, **variables))
    texts = [finding.message for finding in of(findings, "settings")]
    assert [text.partition("=")[0] for text in texts] == [
        "OTEL_TRACES_SAMPLER",
        "KAIZEN_OTEL_PRICES",
    ]
    (audit,) = of(findings, "audit")
    assert "UNSIGNED" in audit.message
    assert str(tmp_path / "key") in audit.message
    assert records(capture) == []


@pytest.mark.parametrize("url", ["localhost:16686", "ftp://localhost", "http://", "http://a:b"])
def test_an_address_that_is_none_is_told_by_the_option(url: str) -> None:
    with pytest.raises(ConfigError, match=f"--jaeger {url}"):
        examine(jaeger=url)


def a_page(connection: socket.socket, number: int, server: RawServer) -> None:
    del number, server
    connection.recv(65536)
    connection.sendall(answer(body=b"<html>", content_type="text/html", connection="close"))


def test_a_backend_that_is_not_there_or_another_program_is_not_waited_for(
    capture: OtlpCapture, tmp_path: Path
) -> None:
    variables = environ(capture, tmp_path)
    (closed,) = of(examine(environ=variables, jaeger="http://127.0.0.1:9"), "traces")
    assert "cannot be asked at http://127.0.0.1:9: Connection refused" in closed.message
    with RawServer(a_page) as server:
        url = f"http://127.0.0.1:{server.port}"
        (other,) = of(examine(environ=variables, elasticsearch=url), "logs")
        (metrics,) = of(examine(environ=variables, prometheus=url), "metrics")
    assert metrics.fix == "correct --prometheus"
    assert "another program" in other.message
    assert other.fix == "correct --elasticsearch"
