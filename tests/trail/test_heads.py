"""Heads: an agent learns what is in a trail that it does not see, and believes only whom it may."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaizen_otel._cli.audit import audit
from kaizen_otel._edges import OsFilesystem
from kaizen_otel._export import Delivered, Outcome, Retryable, Signal
from kaizen_otel._otlp.decode import decode_logs_request
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel._spool.cursor import read_reconciled
from kaizen_otel._trail.heads import encode_heads, heads_of
from kaizen_otel._trail.heads_reconcile import read_heads, reconcile_heads
from kaizen_otel._trail.judged import judge_trail
from kaizen_otel.audit._finding import Verdict
from kaizen_otel.audit.anchors import heads_digest
from kaizen_otel.audit.signatures import encode_base64
from kaizen_otel.audit.trust import Trust, TrustedKey
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.errors import ConfigError
from kaizen_otel.testing import FixedClock
from tests.trail.query_kit import ACTIVE, STREAM, line, signed_stream

SIGNER = Ed25519Signer.generate()
FILESYSTEM = OsFilesystem()
Fact = dict[str, object]


class Collector:
    """Writes each request as one line of the trail, while it is up."""

    description = "a file"

    def __init__(self, folder: Path) -> None:
        self.path = folder / ACTIVE
        self.is_up = True
        folder.mkdir()

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        if not self.is_up:
            return Retryable(reason="unreachable", message="down")
        if body:
            with self.path.open("a") as file:
                text = json.dumps(decode_logs_request(body), separators=(",", ":"))
                file.write(text + "\n")
        return Delivered()

    def close(self) -> None:
        """Do nothing."""


class House:
    """An agent's spool, a trail, a trust file that knows the key of whoever makes heads."""

    def __init__(self, root: Path) -> None:
        self.spool, self.trail, self.root = root / "spool", root / "trail", root
        self.collector = Collector(self.trail)
        self.key = root / "heads.key"
        self.key.touch(mode=0o600)
        self.key.write_bytes(SIGNER.to_pem())
        self.trust = root / "trust.json"
        self.run("trust", "add", encode_base64(SIGNER.public_key), "--name", "heads")

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        env = {
            "KAIZEN_OTEL_SPOOL_DIR": str(self.spool),
            "KAIZEN_OTEL_AUDIT_DIR": str(self.trail),
            "KAIZEN_OTEL_TRUST_FILE": str(self.trust),
        }
        return CliRunner().invoke(audit, arguments, env=env, input=stdin, standalone_mode=False)

    def fill(self, delivered: int, waiting: int = 0) -> None:
        config = Config.from_environment({"KAIZEN_OTEL_SPOOL_DIR": str(self.spool)})
        manager = AuditTrailManager(config=config, transport=self.collector, warn=lambda _: None)
        for _ in range(delivered):
            assert manager.record("qa", "tool_execute", {}, "success").wait(10)
        assert manager.flush(10_000)
        self.collector.is_up = not waiting
        for _ in range(waiting):
            assert manager.record("qa", "tool_execute", {}, "success").wait(10)
        manager.shutdown(300 if waiting else 5_000)
        self.collector.is_up = True

    def heads(self) -> str:
        """What ``audit heads --json`` prints; the agent's own keys are not pinned here."""
        found = heads_of(FILESYSTEM, str(self.trail), self.verdict())
        clock = FixedClock(time_ns=2_000_000_000_000_000_000)
        return json.dumps(encode_heads(found, signer=SIGNER, clock=clock))

    def verdict(self) -> Verdict:
        return judge_trail(
            FILESYSTEM, str(self.trail), trust_path=None, anchor_paths=(), warn=lambda _: None
        )

    def reconcile(self, heads: str, *arguments: str) -> tuple[object, Fact]:
        result = self.run("reconcile", "--heads", "-", "--json", *arguments, stdin=heads)
        assert result.exception is None, result.exception
        return result.return_value, json.loads(result.stdout)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_spool_that_is_in_the_trail_is_clean_without_seeing_it(house: House) -> None:
    house.fill(5)
    code, found = house.reconcile(house.heads())
    assert (code, found["clean"], found["missing"]) == (0, True, [])
    assert found["spooled"] == found["in_trail"]


def test_waiting_records_are_told(house: House) -> None:
    house.fill(3, waiting=2)
    code, found = house.reconcile(house.heads())
    assert code == 2
    waiting = found["waiting"]
    assert isinstance(waiting, list)
    assert len(waiting) >= 2


def test_what_was_delivered_and_is_beyond_the_head_is_missing(house: House) -> None:
    house.fill(5)
    kept = house.collector.path.read_text().splitlines(keepends=True)
    house.collector.path.write_text("".join(kept[:-1]))
    code, found = house.reconcile(house.heads())
    assert code == 2
    assert found["missing"]


def test_what_may_be_newer_than_the_heads_is_not_called_missing(house: House) -> None:
    house.fill(5)
    trusted = read_heads(
        json.dumps(encode_heads([], signer=SIGNER, clock=FixedClock(time_ns=1))).encode(),
        trust=Trust().adding(_trusted()),
        source="x",
    )
    found = reconcile_heads(FILESYSTEM, str(house.spool), trusted)
    assert (found.missing, found.unknown) == ([], found.spooled)


def _trusted() -> TrustedKey:
    moment = datetime(1970, 1, 1, tzinfo=UTC)
    return TrustedKey(public_key=SIGNER.public_key, name="x", added=moment)


def test_a_hole_in_the_trail_lowers_the_head_to_before_it(house: House) -> None:
    """The head promises everything before it."""
    records = signed_stream(SIGNER, count=20)
    text = b"".join(line(one) for place, one in enumerate(records, 1) if place != 9)
    house.collector.path.write_bytes(text)
    [head] = heads_of(FILESYSTEM, str(house.trail), house.verdict())
    assert (head.stream_id, head.number, head.is_end) == (STREAM, 8, False)


def test_an_altered_record_is_not_below_the_head(house: House) -> None:
    records = signed_stream(SIGNER, count=20)
    lines = [line(one) for one in records]
    lines[4] = lines[4].replace(b'"success"', b'"failure"')
    house.collector.path.write_bytes(b"".join(lines))
    found = heads_of(FILESYSTEM, str(house.trail), house.verdict())
    assert all(head.number < 5 for head in found)


def test_the_head_of_a_whole_stream_is_its_end_whatever_the_order(house: House) -> None:
    records = signed_stream(SIGNER, count=20)
    house.collector.path.write_bytes(b"".join(line(one) for one in reversed(records)))
    [head] = heads_of(FILESYSTEM, str(house.trail), house.verdict())
    assert (head.number, head.is_end) == (22, True)


def test_a_stream_that_differs_is_not_confirmed(house: House) -> None:
    """Another record in the head's place: the trail holds another history than the spool."""
    house.fill(5)
    document = json.loads(house.heads())
    document["streams"][0]["hash"] = "00" * 32
    del document["signature"]
    document["signature"] = encode_base64(SIGNER.sign(heads_digest(document)))
    code, found = house.reconcile(json.dumps(document))
    assert (code, found["in_trail"]) == (2, 0)
    assert "is not the one" in json.dumps(found["problems"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"end": "', '"end": "x'), "does not hold"),
        (lambda text: text.replace('"number": "', '"number": "1'), "does not hold"),
        (lambda text: text.replace(SIGNER.key_id, "0" * 32), "not trusted"),
        (lambda text: "{}", "no list of heads"),
        (lambda text: text[:-5], "no list of heads"),
        (lambda text: "[" * 100_000, "no list of heads"),
    ],
)
def test_heads_that_are_not_whole_or_not_trusted_are_refused(
    house: House, change: object, message: str
) -> None:
    house.fill(1)
    assert callable(change)
    result = house.run("reconcile", "--heads", "-", stdin=change(house.heads()))
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


def test_only_with_mark_agents_are_told_and_only_what_was_proved(house: House) -> None:
    house.fill(3, waiting=2)
    [stream] = [path for path in house.spool.iterdir() if path.is_dir()]
    house.reconcile(house.heads())
    assert read_reconciled(FILESYSTEM, str(stream)) == 0
    _, found = house.reconcile(house.heads(), "--mark")
    in_trail = found["in_trail"]
    assert isinstance(in_trail, int)
    assert read_reconciled(FILESYSTEM, str(stream)) == in_trail + 1
    house.fill(2)
    result = house.run("reconcile", "--mark", "--json")
    assert result.exception is None
    marks = [read_reconciled(FILESYSTEM, str(p)) for p in house.spool.iterdir() if p.is_dir()]
    assert all(mark >= 4 for mark in marks)


def test_the_command_signs_and_says_if_the_trail_is_not_clean(house: House) -> None:
    records = signed_stream(SIGNER, count=12)
    house.collector.path.write_bytes(b"".join(line(one) for one in records))
    result = house.run("heads", "--json", "--key", str(house.key))
    assert result.return_value == 0, result.output
    trust = Trust().adding(_trusted())
    assert read_heads(result.stdout.encode(), trust=trust, source="x").heads[STREAM].sequence == 14
    house.collector.path.write_bytes(b"".join(line(one) for one in records[:-2]))
    result = house.run("heads")
    assert result.return_value == 2
    assert "not clean" in result.stderr
    result = house.run("heads", "--json")
    assert "KAIZEN_OTEL_SIGNING_KEY" in str(result.exception)


def test_without_a_trust_file_no_heads_are_believed(house: House) -> None:
    house.trust.unlink()
    result = CliRunner().invoke(
        audit,
        ["reconcile", "--heads", "-"],
        env={"KAIZEN_OTEL_SPOOL_DIR": str(house.spool)},
        input="{}",
        standalone_mode=False,
    )
    assert "KAIZEN_OTEL_TRUST_FILE" in str(result.exception)
