"""What the doctor says of settings without effect and of the ledgers of all agents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from kaizen_otel import _semconv_sdk
from kaizen_otel._doctor import examine, worst
from kaizen_otel._export.losses import advice
from kaizen_otel._prometheus_text import prometheus_name
from kaizen_otel.testing.capture import OtlpCapture
from tests.export.servers import RawServer, answer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from kaizen_otel._doctor import Finding

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
