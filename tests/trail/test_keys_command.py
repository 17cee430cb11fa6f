"""`kaizen-otel audit keys` and `audit trust` on real files: texts, JSON, modes, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.audit.signatures import (
    encode_base64,
    key_id_of,
)
from tests.trail.keys_kit import (
    answer,
    assert_no_private_key,
    done,
    mode,
    names,
    prepare,
    refused,
    run,
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare(tmp_path, monkeypatch)


class TestNew:
    """`keys new`."""

    def test_it_makes_a_key_that_only_its_owner_can_read(self, place: Path) -> None:
        text = done("keys", "new", "agent.pem")
        path = place / "agent.pem"
        signer = Ed25519Signer.from_pem(path.read_bytes())
        assert mode(path) == 0o600
        assert signer.key_id in text
        assert f"KAIZEN_OTEL_SIGNING_KEY={path}" in text
        assert f"audit trust add {encode_base64(signer.public_key)} --name NAME" in text
        assert names(place) == ["agent.pem"]
        assert_no_private_key(text, path)

    def test_its_json_names_key_and_file(self, place: Path) -> None:
        found = answer("keys", "new", "agent.pem")
        signer = Ed25519Signer.from_pem((place / "agent.pem").read_bytes())
        assert found == {
            "key_id": signer.key_id,
            "public_key": encode_base64(signer.public_key),
            "path": str(place / "agent.pem"),
        }

    def test_it_never_replaces_a_file(self, place: Path) -> None:
        (place / "agent.pem").write_text("precious")
        assert "NOT changed" in refused("keys", "new", "agent.pem")
        assert (place / "agent.pem").read_text() == "precious"

    def test_a_folder_that_is_not_there_is_exit_code_3(self) -> None:
        result = run("keys", "new", "nowhere/agent.pem")
        assert result.return_value == 3
        assert "nowhere" in result.stderr

    def test_with_the_setting_agents_sign_with_it(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = answer("keys", "new", "agent.pem")
        monkeypatch.setenv("KAIZEN_OTEL_SIGNING_KEY", made["path"])
        assert answer("keys", "show") == made


class TestShow:
    """`keys show`."""

    def test_a_key_in_the_variable_has_no_file(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = answer("keys", "new", "agent.pem")
        monkeypatch.setenv("KAIZEN_OTEL_SIGNING_KEY", (place / "agent.pem").read_text())
        assert answer("keys", "show") == {**made, "path": None}
        text = done("keys", "show")
        assert "the text in KAIZEN_OTEL_SIGNING_KEY" in text
        assert_no_private_key(text, place / "agent.pem")

    def test_the_public_key_can_be_handed_on_as_it_is_printed(self, place: Path) -> None:
        made = answer("keys", "new", "agent.pem")
        public = done("keys", "show", "agent.pem", "--public")
        assert public.startswith("-----BEGIN PUBLIC KEY-----\n")
        assert_no_private_key(public, place / "agent.pem")
        done("trust", "add", "-", "--name", "agent", "--trust", "trust.json", stdin=public)
        [key] = answer("trust", "list", "--trust", "trust.json")["keys"]
        assert key["key_id"] == made["key_id"]
        assert key["public_key"] == made["public_key"]

    def test_without_a_setting_it_is_the_spools_own_key(self, place: Path) -> None:
        (place / "spool").mkdir()
        signer = Ed25519Signer.generate()
        (place / "spool" / "signing.key").write_bytes(signer.to_pem())
        assert answer("keys", "show")["key_id"] == signer.key_id
        (place / "spool").rename(place / "elsewhere")
        found = answer("keys", "show", "--spool", "elsewhere")
        assert found["path"] == str(place / "elsewhere" / "signing.key")

    def test_it_makes_no_key(self, place: Path) -> None:
        assert "signing.key" in refused("keys", "show")
        assert list(place.iterdir()) == []

    def test_a_file_that_others_can_read_is_warned_about(self, place: Path) -> None:
        done("keys", "new", "agent.pem")
        (place / "agent.pem").chmod(0o644)
        result = run("keys", "show", "agent.pem", "--json")
        assert "mode 0644" in result.stderr
        assert json.loads(result.stdout)["key_id"]

    @pytest.mark.parametrize("content", [b"", b"no key", bytes(range(256))])
    def test_a_file_without_a_key_is_named(self, place: Path, content: bytes) -> None:
        (place / "agent.pem").write_bytes(content)
        assert "agent.pem" in refused("keys", "show", "agent.pem")

    def test_a_pipe_is_not_waited_for(self, place: Path) -> None:
        os.mkfifo(place / "pipe")
        assert "no regular file" in refused("keys", "show", "pipe")

    def test_a_key_set_without_its_pem_lines_is_not_printed(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done("keys", "new", "agent.pem")
        seed = (place / "agent.pem").read_text().splitlines()[1]
        monkeypatch.setenv("KAIZEN_OTEL_SIGNING_KEY", seed)
        message = refused("keys", "show")
        assert_no_private_key(message, place / "agent.pem")
        assert "KAIZEN_OTEL_SIGNING_KEY" in message


PUBLIC = encode_base64(Ed25519Signer.generate().public_key)
KEY_ID = key_id_of(Ed25519Signer.generate().public_key)


class TestTrust:
    """`trust add`, `list` and `remove`."""

    @pytest.fixture(autouse=True)
    def setting(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAIZEN_OTEL_TRUST_FILE", str(place / "trust.json"))

    def test_what_was_added_is_listed_and_what_was_removed_is_not(self, place: Path) -> None:
        added = answer("trust", "add", PUBLIC, "--name", "one")
        text = done(
            *("trust", "add", encode_base64(Ed25519Signer.generate().public_key)),
            *("--name", "two", "--not-before", "2026-01-01T00:00:00Z"),
            *("--not-after", "2027-01-01T00:00:00Z"),
        )
        assert text.startswith("trusted: ")
        [one, two] = answer("trust", "list")["keys"]
        assert one == added
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["added"])
        assert two["not_before"] == "2026-01-01T00:00:00Z"
        listed = done("trust", "list").splitlines()
        assert listed[0].startswith(added["key_id"])
        assert listed[0].endswith("  one")
        assert "from 2026-01-01T00:00:00Z  until 2027-01-01T00:00:00Z  two" in listed[1]
        assert answer("trust", "remove", added["key_id"]) == {"removed": added["key_id"], "keys": 1}
        assert answer("trust", "list") == {"path": str(place / "trust.json"), "keys": [two]}
        assert mode(place / "trust.json") == 0o600
        assert names(place) == ["trust.json"]

    def test_a_key_that_is_there_is_changed_only_on_demand(self) -> None:
        done("trust", "add", PUBLIC, "--name", "one")
        assert "--replace" in refused("trust", "add", PUBLIC, "--name", "two")
        done("trust", "add", PUBLIC, "--name", "two", "--not-after", "0s", "--replace")
        [key] = answer("trust", "list")["keys"]
        assert key["name"] == "two"
        assert key["not_after"]

    def test_a_private_key_is_refused(self, place: Path) -> None:
        done("keys", "new", "agent.pem")
        message = refused("trust", "add", "agent.pem", "--name", "x")
        assert "which no verifier should have" in message
        assert_no_private_key(message, place / "agent.pem")
        assert not (place / "trust.json").exists()

    @pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "x" * 201])
    def test_a_name_that_could_hide_something_is_refused(self, name: str) -> None:
        assert "printable" in refused("trust", "add", PUBLIC, "--name", name)

    def test_a_key_file_that_is_not_there_is_exit_code_3(self) -> None:
        result = run("trust", "add", "no-such.pem", "--name", "x")
        assert result.return_value == 3
        assert "no-such.pem" in result.stderr

    def test_removing_what_is_not_there_is_said(self) -> None:
        done("trust", "add", PUBLIC, "--name", "one")
        assert KEY_ID in refused("trust", "remove", KEY_ID)

    def test_no_trust_file_is_a_wrong_setting_and_an_empty_one_is_none(self, place: Path) -> None:
        assert "No such file" in refused("trust", "list")
        (place / "trust.json").write_text('{"version": 1, "keys": []}')
        assert answer("trust", "list")["keys"] == []

    def test_without_a_setting_the_question_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("KAIZEN_OTEL_TRUST_FILE")
        assert "KAIZEN_OTEL_TRUST_FILE" in str(run("trust", "list").exception)

    def test_a_file_that_all_may_read_stays_so(self, place: Path) -> None:
        """It is no secret, and a verifier may run as another user."""
        done("trust", "add", PUBLIC, "--name", "one")
        (place / "trust.json").chmod(0o644)
        done("trust", "remove", answer("trust", "list")["keys"][0]["key_id"])
        assert mode(place / "trust.json") == 0o644

    def test_a_link_stays_a_link(self, place: Path) -> None:
        done("trust", "add", PUBLIC, "--name", "one")
        (place / "trust.json").rename(place / "real.json")
        (place / "trust.json").symlink_to("real.json")
        done("trust", "add", PUBLIC, "--name", "two", "--replace")
        assert (place / "trust.json").is_symlink()
        assert "two" in (place / "real.json").read_text()


RACER = """
import sys
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._signing import Ed25519Signer, signer_from
Ed25519Signer.generate()  # loads what it needs
print("ready", flush=True)
for line in sys.stdin:
    said = []
    signer = signer_from(
        None, directory=line.strip(), filesystem=OsFilesystem(), clock=SystemClock(),
        warn=said.append, say=said.append,
    )
    print(signer.key_id, len(said), flush=True)
"""


def test_processes_that_race_make_one_key_and_one_tells_it(place: Path) -> None:
    """On the real disk; the same with threads, and without the lock, is in test_signing.py."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        assert [_line(racer) for racer in racers] == ["ready"] * 3
        for attempt in range(20):
            root = place / str(attempt)
            for racer in racers:
                assert racer.stdin
                racer.stdin.write(f"{root}\n")
                racer.stdin.flush()
            found = [_line(racer).split() for racer in racers]
            assert len({key_id for key_id, _ in found}) == 1
            assert sum(int(said) for _, said in found) == 1
            assert mode(root) == 0o700
            assert names(root) == ["signing.key", "signing.lock"]
            assert {mode(path) for path in root.iterdir()} == {0o600}
    finally:
        for racer in racers:
            racer.communicate(timeout=60)


def _line(racer: subprocess.Popen[str]) -> str:
    assert racer.stdout
    return racer.stdout.readline().strip()


def test_importing_the_signing_part_loads_no_cryptography() -> None:
    code = (
        "import sys, kaizen_otel._signing, kaizen_otel.audit.trust, kaizen_otel.audit.rotation;"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
