"""The logs route of the gateway against a store that fails: the queue on disk, and real kills."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.collector.otlp_json import Sender, logs
from tests.collector.processes import collector
from tests.collector.store import Store, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess


def gateway(binary: Path, folder: Path, store: Store, *overlays: str | Path) -> CollectorProcess:
    configs = ["gateway", *overlays]
    return collector(binary, folder, configs, ELASTICSEARCH_ENDPOINT=store.url)


def test_no_record_is_lost_or_doubled_over_an_outage_with_kills(
    gateway_binary: Path, tmp_path: Path
) -> None:
    sent: list[str] = []
    with Store() as store:
        for round_number, available in enumerate((True, False, False, True)):
            store.available = available
            with gateway(gateway_binary, tmp_path, store) as process:
                sender = Sender(process.http_port)
                for number in range(20):
                    texts = [f"{round_number}-{number}-{position}" for position in range(5)]
                    assert sender.post("logs", logs(*texts))
                    sent += texts
                if round_number == 3:
                    assert wait_until(lambda: len(store.documents) == 400), process.log_tail()
                else:
                    process.kill()
        assert len(sent) == 400
        assert store.texts() == sorted(sent)


def test_what_the_store_rejects_is_in_the_dead_letter_file_and_counted(
    gateway_binary: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dead-letter"
    with Store() as store:
        store.status_of = lambda document: 400 if document["body"]["text"] == "bad" else 201
        process = gateway(gateway_binary, tmp_path, store)
        with process:
            assert Sender(process.http_port).post("logs", logs("good", "bad", "fine"))
            path = folder / "elasticsearch.jsonl"
            assert wait_until(lambda: path.is_file() and path.stat().st_size > 0)
            assert wait_until(lambda: "dead_letters" in _own_metrics(process))
        assert store.texts() == ["fine", "good"]
    letters = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [letter["document"]["body"]["text"] for letter in letters] == ["bad"]
    assert letters[0]["status"] == 400
    assert letters[0]["error"]["reason"] == "status 400"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_queue_refuses_at_once_and_keeps_what_it_took(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """A sender that waits for room would use up its time and drop (rule R40)."""
    small = tmp_path / "small.yaml"
    small.write_text(
        "exporters:\n"
        "  elasticsearch:\n"
        "    sending_queue: {sizer: items, queue_size: 40, batch: {min_size: 5, max_size: 10}}\n"
    )
    with Store() as store:
        store.available = False
        with gateway(gateway_binary, tmp_path, store, small) as process:
            sender = Sender(process.http_port)
            accepted: list[str] = []
            for number in range(100):
                texts = [f"{number}-{position}" for position in range(5)]
                status = sender.status("logs", logs(*texts))
                if status != 200:
                    break
                accepted += texts
            assert status == 503, "0 is a sender that waited in vain"
            assert 0 < len(accepted) < 500
            store.available = True
            assert wait_until(lambda: len(store.documents) == len(accepted)), process.log_tail()
        assert store.texts() == sorted(accepted)


SECRETS = {
    "an API key": "sk-proj-abcdefghijklmnopqrst",
    "a token of GitHub": "ghp_" + "a1B2" * 9,
    "a token of Slack": "xoxb-123456789012-abcdef",
    "a key of AWS": "AKIAABCDEFGHIJKLMNOP",
    "a key of Google": "AIza" + "abcde" * 7,
    "a JSON web token": "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "a header": "Authorization: Bearer abcdefgh12345678",
    "a private key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----",
    "an address": "postgresql://user:hunter3@db/prompts",
}
HARMLESS = {
    "a word": "task-force sk-1 bearer of news",
    "a link": "https://example.com/path?query=1@2",
    "a model": "gpt-5-mini-2026-08-07",
}


def test_secrets_in_attributes_do_not_reach_the_store(gateway_binary: Path, tmp_path: Path) -> None:
    """The second net: the library redacts first, but other agents may send here too."""
    with Store() as store, gateway(gateway_binary, tmp_path, store) as process:
        named = {"db.Password": "hunter2", "openai_api_key": "k-1", "gen_ai.tool.name": "x"}
        attributes = {**named, **SECRETS, **HARMLESS}
        body = " and ".join(SECRETS.values())
        assert Sender(process.http_port).post("logs", logs(body, attributes=attributes))
        assert wait_until(lambda: len(store.documents) == 1)
        (document,) = store.documents.values()
    assert document["attributes"]["gen_ai.tool.name"] == "x"
    text = json.dumps(document)
    for part in ("hunter2", 'k-1"', "hunter3", "MIIE", "abcdefgh1", "c2ln", *SECRETS.values()):
        assert part not in text
    for name, value in HARMLESS.items():
        assert document["attributes"][name] == value


def test_audit_records_are_not_touched(gateway_binary: Path, tmp_path: Path) -> None:
    """A changed record would break its chain (rule R10); the library redacts before it signs."""
    with Store() as store, gateway(gateway_binary, tmp_path, store) as process:
        assert Sender(process.audit_port).post("logs", logs("text", attributes=SECRETS))
    text = (tmp_path / "audit" / "audit.jsonl").read_text(encoding="utf-8")
    assert all(json.dumps(value)[1:-1] in text for value in SECRETS.values())


def _own_metrics(process: CollectorProcess) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{process.metrics_port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text
