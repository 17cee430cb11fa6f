"""Right credentials, hostile content: what it becomes in the trail and in the store."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tests.collector.attacks.ask import JSON, exchange
from tests.collector.attacks.attack import Attack
from tests.collector.attacks.malformed import body, field, request
from tests.collector.otlp_json import logs

if TYPE_CHECKING:
    from tests.collector.attacks.target import Door, Target

_FORGED: Final = json.dumps(logs("forged"))
ONE_LINE: Final = "200, one line"


def lines_of(target: Target) -> list[bytes]:
    path = target.data / "audit" / "audit.jsonl"
    # Only what the file exporter ends a line with counts; splitlines knows many more.
    return [line for line in path.read_bytes().split(b"\n") if line]


def files_of(target: Target) -> set[str]:
    """All files below the Collector's folder, and what stands beside it."""
    return {str(path) for path in target.data.parent.rglob("*.jsonl*")}


def into_the_trail(content: dict[str, Any]) -> partial[str]:
    """Send a record to audit and see what one more line there says."""

    def run(target: Target, door: Door, content: dict[str, Any]) -> str:
        before, files = lines_of(target), files_of(target)
        data = json.dumps(content).encode()
        head = (
            f"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"{target.headers_of(door)}Content-Type: {JSON}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        status = exchange(target.number(door), head.encode() + data, target.tls(door)).status
        added = lines_of(target)[len(before) :]
        if files_of(target) != files:
            return f"{status}, another file"
        if len(added) != 1 or not _same(json.loads(added[0]), content):
            return f"{status}, {len(added)} lines: {added!r}"
        return f"{status}, one line"

    return partial(run, content=content)


def _same(stored: dict[str, Any], sent: dict[str, Any]) -> bool:
    """Whether the line says what was sent, body and attributes of record and resource."""

    def told(request: dict[str, Any]) -> list[object]:
        (resource,) = request["resourceLogs"]
        (record,) = resource["scopeLogs"][0]["logRecords"]
        return [record["body"], record.get("attributes", []), resource["resource"]["attributes"]]

    return told(stored) == told(sent)


def of_resource(name: str, value: str) -> dict[str, Any]:
    content = logs("ordinary")
    attributes = content["resourceLogs"][0]["resource"]["attributes"]
    attributes.append({"key": name, "value": {"stringValue": value}})
    return content


def trail(name: str, content: dict[str, Any]) -> Attack:
    return Attack(name, {"audit": ONE_LINE}, into_the_trail(content), comes_in=1)


CONTENT: Final = (
    trail("a second line in the body", logs(f"a\n{_FORGED}\nb")),
    trail("a second line by CR, CR LF, NEL, U+2028, U+2029", logs("a\r\r\n\x85\u2028\u2029b")),
    trail("a second line in an attribute's value", logs("x", attributes={"a": f"\n{_FORGED}\n"})),
    trail("a second line in an attribute's name", logs("x", attributes={f"\n{_FORGED}\n": "v"})),
    trail("a second line in the resource", of_resource("host.name", f"\n{_FORGED}\n")),
    trail("the end of a string and a second object", logs('"}}]}]}]}\n{"resourceLogs":[')),
    trail("control characters and terminal escapes", logs("\0\x07\x08\x1b[2J\x1b]0;x\x07\x7f")),
    trail("text from right to left", logs("\u202egnissim si siht\u2066\u2069")),
    trail("markup", logs("</script><script>alert(1)</script><!--")),
    trail("a variable or a template", logs("${env:HOME} ${file:/etc/passwd} {{.}} %s %n")),
    trail(
        "a path in a resource attribute (`fileexporter.path_segment`)",
        of_resource("fileexporter.path_segment", "../../elsewhere"),
    ),
    trail(
        "an absolute path in a resource attribute", of_resource("log.file.path", "/etc/cron.d/x")
    ),
    Attack(
        "text that is not UTF-8",
        {"gRPC": "OK", "HTTP": "200", "audit": "200"},
        body(request(field(5, field(1, b"\xff\xfe\xc0\x80\xed\xa0\x80")))),
        comes_in=1,
    ),
)
