"""Erasing a subject: nothing of it can be found out any more, and the trail verifies as before."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pytest
from click.testing import CliRunner

from kaizen_otel._cli import cli
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._otlp.decode import decode_log_record
from kaizen_otel._spool.files import segment_paths, stream_ids
from kaizen_otel._spool.segment import scan
from kaizen_otel._spool.store import read_key
from kaizen_otel._subject_keys import DiskSubjectKeys
from kaizen_otel._subjects import Subjects, open_subjects
from kaizen_otel._trail.subjects import erase_subject, reveal_records
from kaizen_otel.audit import subjects as pure
from kaizen_otel.audit._content import Pseudonyms
from kaizen_otel.audit._stored import read_spool
from kaizen_otel.audit.record import EVENT_ERASED, SUBJECT
from kaizen_otel.audit.verify import Verifier
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.errors import AuditUnavailableError, KaizenOtelError, SubjectKeyError
from kaizen_otel.testing import FakeTransport, MemoryFilesystem
from kaizen_otel.testing.memory_filesystem import Call, Fault, fail_operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._edges import Filesystem
    from kaizen_otel.audit.query import StoredRecord

USERS = ("bob@example.org", "Ева Иванова", "u-1007")
SECRET = "the pin is {}"


class Done(NamedTuple):
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


class Quick(SystemClock):
    """A clock that waits no longer than a moment."""

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        return super().wait(event, min(timeout_ns, 10**7))


class House:
    """Agents on one machine: a spool root, the keys of subjects, and the command line."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            "KAIZEN_OTEL_SPOOL_DIR": str(directory / "spool"),
            "KAIZEN_OTEL_SUBJECT_KEYS": str(directory / "subjects"),
            "KAIZEN_OTEL_AUDIT_CONTENT": "encrypted",
            "KAIZEN_OTEL_AUDIT_ENDPOINT": "http://127.0.0.1:9",
        }
        self.warnings: list[str] = []
        self.managers: list[AuditTrailManager] = []
        self.config = Config.from_environment(self.environment)

    def manager(self) -> AuditTrailManager:
        made = AuditTrailManager(
            config=self.config, transport=FakeTransport(), warn=self.warnings.append
        )
        self.managers.append(made)
        return made

    def records(self) -> list[StoredRecord]:
        return list(read_spool(OsFilesystem(), str(self.directory / "spool")))

    def run(self, *arguments: str, stdin: str = "") -> Done:
        """The command in this process, with what its ``main`` makes of its result."""
        if arguments[0] == "erase":
            arguments = (*arguments, "--timeout", "0")
        result = CliRunner().invoke(
            cli, ["audit", *arguments], env=self.environment, input=stdin, standalone_mode=False
        )
        error, code = result.exception, result.return_value
        told = str(error) if isinstance(error, KaizenOtelError) else ""
        if isinstance(error, click.ClickException):
            code, told = 2, error.format_message()
        elif isinstance(error, KaizenOtelError):
            code = error.exit_code
        elif error is not None:
            raise error
        return Done(code, result.stdout, result.stderr + told)

    def subjects(self, *, warn: Callable[[str], None] = print) -> Subjects:
        spool = str(self.directory / "spool")
        found = open_subjects(
            self.config.audit, directory=spool, keys=None, filesystem=OsFilesystem(),
            clock=SystemClock(), warn=warn,
        )  # fmt: skip
        assert found is not None
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    for manager in made.managers:
        manager.shutdown(5_000)


def fill(manager: AuditTrailManager, count: int = 2, users: tuple[str, ...] = USERS) -> None:
    for user in users:
        for number in range(count):
            secret = SECRET.format(user)
            receipt = manager.record(
                "qa", "tool_execute", {"note": secret, "tool_name": "pay", "n": {"in": [secret]}},
                "success", user_id=user, metadata={"free": secret},
            )  # fmt: skip
            attributes = {"enduser.id": user, "gen_ai.tool.call.result": secret, "user.hash": "x"}
            assert manager.emit("kaizen.tool.execute", attributes).wait(10)
            assert receipt.wait(10), f"{receipt.reason} {number}"


def log_records(filesystem: Filesystem, root: str) -> Iterator[dict[str, Any]]:
    for stream_id in stream_ids(filesystem, root):
        for path in segment_paths(filesystem, f"{root}/{stream_id}"):
            for entry in scan(filesystem.read(path, 0, 1 << 26)).entries:
                if not entry.is_resource:
                    yield decode_log_record(entry.payload)


def tampering(filesystem: Filesystem, root: str) -> list[str]:
    verifier = Verifier()
    for record in log_records(filesystem, root):
        verifier.add_log_record(record, None)
    verdict = verifier.finish()
    assert verdict.records > 0
    return [f"{f.kind} {f.text}" for f in verdict.findings if f.severity == "tampering"]


def recoverable(directory: Path, users: tuple[str, ...]) -> set[str]:
    """What of the users can be found out with every file that is left, and every key in them.

    Their names and secrets in plain text; their pseudonyms and HMACs recomputed with every key;
    the names of the files of their keys; every ciphertext with every key that opens.
    """
    files = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    everything = b"\n".join([*files.values(), *(str(p).encode() for p in files)])
    spool = str(directory / "spool")
    pseudonym_key = read_key(spool, filesystem=OsFilesystem())
    master = (directory / "spool" / "subjects.key").read_bytes()
    keys = [pseudonym_key, master, (directory / "spool" / "signing.key").read_bytes()[:32]]
    store = str(directory / "subjects")
    subjects = Subjects(
        DiskSubjectKeys(store, filesystem=OsFilesystem(), clock=SystemClock()),
        master=lambda: master,
        clock=SystemClock(),
        warn=print,
    )
    left = list(subjects.all())
    for subject in left:
        keys += [subject.key, subject.pseudonym_key, subject.cipher_key]
    keys += [
        pure.derive(key, p) for key in tuple(keys) for p in ("subject names", "subject pseudonyms")
    ]
    found: set[str] = set()
    for user in users:
        for guess in (user, SECRET.format(user)):
            forms = [guess.encode(), base64.b64encode(guess.encode())]
            for key in keys:
                forms += [Pseudonyms(key).of(guess).rpartition(":")[2].encode()]
                forms += [pure.name_of(guess, key).encode()]
            found |= {f"{guess} {n}" for n, form in enumerate(forms) if form in everything}
    records = list(read_spool(OsFilesystem(), spool))
    for revealed in reveal_records(records, keys=left, subjects=subjects):
        found |= {
            f"{u} revealed" for u in users for v in revealed.values.values() if u.encode() in v
        }
    return found


def test_after_an_erasure_nothing_can_be_found_out_with_all_that_is_left(house: House) -> None:
    manager = house.manager()
    fill(manager)
    assert manager.shutdown(10_000)
    erased, others = USERS[0], USERS[1:]
    assert recoverable(house.directory, (erased,)), "before, the keys' holder can"
    done = house.run("erase", erased, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    [subject] = json.loads(done.stdout)["erased"]
    assert recoverable(house.directory, (erased,)) == set()
    for other in others:
        assert any("revealed" in what for what in recoverable(house.directory, (other,)))
    named = [r for r in house.records() if r.attributes.get(SUBJECT) == subject]
    assert [r.event_name for r in named].count(EVENT_ERASED) == 1
    assert len(named) == 5, "the records are all still there"
    assert tampering(OsFilesystem(), str(house.directory / "spool")) == []


def test_saboteur_a_pseudonym_of_the_spools_key_is_found(house: House) -> None:
    """Without keys of subjects the same search finds what it looks for."""
    del house.environment["KAIZEN_OTEL_SUBJECT_KEYS"]
    house.config = Config.from_environment(house.environment)
    manager = house.manager()
    fill(manager)
    assert manager.shutdown(10_000)
    (house.directory / "spool" / "subjects.key").write_bytes(bytes(32))
    assert len(recoverable(house.directory, USERS)) >= 2 * len(USERS)


def test_saboteur_a_removed_file_that_is_kept_somewhere_is_found(house: House) -> None:
    manager = house.manager()
    fill(manager)
    assert manager.shutdown(10_000)
    shutil.copytree(house.directory / "subjects", house.directory / "kept")
    assert len(house.subjects().erase(USERS[0])) == 1
    assert recoverable(house.directory, USERS[:1]), "its file name can be tested"


CHILD = """
    import sys
    from kaizen_otel.audit_trail import AuditTrailManager
    from kaizen_otel.config import Config
    from kaizen_otel.testing import FakeTransport
    manager = AuditTrailManager(config=Config.from_environment(), transport=FakeTransport())
    for line in sys.stdin:
        receipt = manager.record("other", "tool_execute", {"note": "x"}, "success", line.strip())
        print(receipt.record_id if receipt.wait(10) else receipt.reason, flush=True)
    manager.shutdown(5000)
"""


def test_a_process_that_runs_on_uses_a_new_key_once_the_erasure_is_reported(house: House) -> None:
    """Two processes share the old key; after the command has returned neither uses it."""
    manager = house.manager()
    first = manager.record("qa", "tool_execute", {}, "success", user_id="bob")
    assert first.wait(10)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **house.environment},
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None

    def tell() -> str:
        assert child.stdin is not None
        assert child.stdout is not None
        print("bob", file=child.stdin, flush=True)
        return child.stdout.readline().strip()

    try:
        before = tell()
        done = house.run("erase", "bob", "--yes", "--json")
        [subject] = json.loads(done.stdout)["erased"]
        after = [tell() for _ in range(3)]
        own = manager.record("qa", "tool_execute", {}, "success", user_id="bob")
        assert own.wait(10)
    finally:
        child.stdin.close()
        child.wait(20)
        child.stdout.close()
    of = {r.record_id: r.attributes.get(SUBJECT) for r in house.records()}
    assert of[first.record_id] == of[before] == subject
    assert len({of[record] for record in (*after, own.record_id)}) == 1
    assert of[own.record_id] not in {subject, None, pure.UNAVAILABLE}
    assert tampering(OsFilesystem(), str(house.directory / "spool")) == []
    assert len(manager.query_by_user("bob").wait()) == 4, "those of the new key"


class TestCommand:
    """What the operator reads and what scripts get."""

    def test_it_asks_and_does_nothing_without_a_yes(self, house: House) -> None:
        manager = house.manager()
        fill(manager, 1)
        asked = house.run("erase", USERS[2], stdin="n\n")
        assert asked.returncode == 2
        assert "nothing was erased" in asked.stderr
        assert "Usage" not in asked.stderr
        assert len(list((house.directory / "subjects").glob("*.key"))) == 3
        told = house.run("erase", "-", "--yes", stdin=f"{USERS[2]}\n")
        assert told.returncode == 0, told.stderr
        assert "backups" in told.stdout
        assert len(list((house.directory / "subjects").glob("*.key"))) == 2

    def test_it_is_idempotent_and_knows_nobody_it_does_not_know(self, house: House) -> None:
        fill(house.manager(), 1)
        assert house.run("erase", USERS[0], "--yes").returncode == 0
        for who in (USERS[0], "nobody"):
            again = house.run("erase", who, "--yes", "--json")
            assert again.returncode == 0
            assert json.loads(again.stdout) == {"erased": []}
        events = [record.event_name for record in house.records()]
        assert events.count(EVENT_ERASED) == 1

    def test_reveal_shows_a_record_or_a_user_to_the_holder_of_the_keys(self, house: House) -> None:
        manager = house.manager()
        fill(manager, 1)
        receipt = manager.record(
            "qa", "note", {"b": b"\xff\xfe", "t": "a\x1b[2Jb"}, "success", "eve"
        )
        assert receipt.wait(10)
        one = json.loads(house.run("reveal", receipt.record_id, "--json").stdout)
        assert one["record_id"] == receipt.record_id
        assert one["values"] == {"details.b": {"base64": "//4="}, "details.t": "a\x1b[2Jb"}
        assert "\x1b" not in house.run("reveal", receipt.record_id).stdout
        users = house.run("reveal", "--user", USERS[1])
        assert users.returncode == 0
        assert SECRET.format(USERS[1]) in users.stdout
        assert USERS[0] not in users.stdout
        assert house.run("erase", USERS[1], "--yes").returncode == 0
        gone = house.run("reveal", "--user", USERS[1])
        assert gone.returncode == 2
        assert "erased" in gone.stderr

    def test_a_wrong_master_key_is_not_taken_for_nothing_to_erase(self, house: House) -> None:
        """Else an operator in the wrong spool would believe that somebody is erased."""
        fill(house.manager(), 1)
        right = house.environment["KAIZEN_OTEL_SPOOL_DIR"]
        house.environment["KAIZEN_OTEL_SPOOL_DIR"] = str(house.directory / "other")
        nowhere = house.run("erase", USERS[0], "--yes")
        assert nowhere.returncode == 3
        assert "subjects.key" in nowhere.stderr
        assert "KAIZEN_OTEL_SUBJECT_MASTER_KEY" in nowhere.stderr
        house.environment["KAIZEN_OTEL_SUBJECT_MASTER_KEY"] = base64.b64encode(bytes(32)).decode()
        wrong = house.run("erase", USERS[0], "--yes")
        assert wrong.returncode == 5
        assert "nothing was erased" in wrong.stderr
        house.environment["KAIZEN_OTEL_SPOOL_DIR"] = right
        del house.environment["KAIZEN_OTEL_SUBJECT_MASTER_KEY"]
        assert "erased subject" in house.run("erase", USERS[0], "--yes").stdout

    def test_records_of_a_subject_are_found_by_their_name(self, house: House) -> None:
        fill(house.manager(), 1)
        found = house.run("query", "--user", USERS[1], "--json", "--no-index")
        assert found.stdout.count("\n") == 1
        assert json.loads(found.stdout)["attributes"][SUBJECT]
        [entry] = house.manager().query_by_user(USERS[1]).wait()
        assert entry.user_id == USERS[1]

    def test_wrong_questions_are_answered_with_what_to_set(self, house: House) -> None:
        assert "--user" in house.run("reveal").stderr
        assert house.run("erase", "", "--yes").returncode == 2
        house.environment["KAIZEN_OTEL_SUBJECT_MASTER_KEY"] = "no key at all"
        fill_less = house.run("erase", "bob", "--yes")
        assert fill_less.returncode != 0
        assert "Traceback" not in fill_less.stderr
        del house.environment["KAIZEN_OTEL_SUBJECT_KEYS"]
        off = house.run("erase", "bob", "--yes")
        assert off.returncode == 2
        assert "KAIZEN_OTEL_SUBJECT_KEYS" in off.stderr


class TestDisk:
    """With the trail and the keys on a disk that fails."""

    ROOT = "/state/spool"

    def parts(self, disk: MemoryFilesystem) -> tuple[Config, Subjects]:
        config = Config.from_environment(
            {"KAIZEN_OTEL_SPOOL_DIR": self.ROOT, "KAIZEN_OTEL_SUBJECT_KEYS": "/keys"}
        )
        subjects = Subjects(
            DiskSubjectKeys("/keys", filesystem=disk, clock=SystemClock()),
            master=lambda: bytes(32),
            clock=SystemClock(),
            warn=print,
        )
        return config, subjects

    def erase(self, disk: MemoryFilesystem, user: str) -> list[str]:
        config, subjects = self.parts(disk)
        return erase_subject(
            user, subjects=subjects, directory=self.ROOT, config=config, filesystem=disk,
            clock=Quick(), warn=print, deliver_ms=0, transport=FakeTransport(),
        )  # fmt: skip

    def test_an_erasure_whose_record_cannot_be_stored_is_an_error_and_is_made_up_for(self) -> None:
        disk = MemoryFilesystem()
        _, subjects = self.parts(disk)
        subjects.pseudonyms("bob", "r")
        key = subjects.find("bob")
        assert key is not None

        def no_spool(call: Call) -> Fault | None:
            is_spool = call.operation == "write" and call.path.endswith(".segment")
            return Fault() if is_spool else None

        disk.fault = no_spool
        with pytest.raises(SubjectKeyError, match="run this again"):
            self.erase(disk, "bob")
        disk.fault = None
        assert subjects.find("bob") is None, "the key is gone all the same"
        after = disk.lose_power()
        assert self.erase(after, "somebody else") == [key.subject]
        events = [(r.event_name, r.attributes.get(SUBJECT)) for r in read_spool(after, self.ROOT)]
        assert events.count((EVENT_ERASED, key.subject)) == 1
        assert tampering(after, self.ROOT) == []

    def test_an_erasure_that_the_key_store_refuses_leaves_no_record(self) -> None:
        disk = MemoryFilesystem()
        _, subjects = self.parts(disk)
        subjects.pseudonyms("bob", "r")
        disk.fault = fail_operation("remove", Fault())
        with pytest.raises(OSError, match="error"):
            self.erase(disk, "bob")
        disk.fault = None
        assert EVENT_ERASED not in {r.event_name for r in read_spool(disk, self.ROOT)}
        assert len(self.erase(disk, "bob")) == 1


@pytest.mark.parametrize("on_failure", ["continue", "block_action"])
def test_without_the_key_store_a_record_has_no_identity_or_is_refused(
    on_failure: str, tmp_path: Path
) -> None:
    """What the trail promises comes before who it was, unless the user chose to fail closed."""
    house = House(tmp_path)
    house.environment["KAIZEN_OTEL_ON_FAILURE"] = on_failure
    house.config = Config.from_environment(house.environment)
    (tmp_path / "subjects").write_text("a file where the directory should be")
    manager = house.manager()
    receipt = manager.emit("kaizen.tool.execute", {"enduser.id": "bob", "note": "the pin is bob"})
    assert receipt.wait(10) is (on_failure == "continue")
    assert any("KAIZEN_OTEL_SUBJECT_KEYS" in text for text in house.warnings)
    assert "bob" not in "".join(house.warnings)
    if on_failure == "block_action":
        assert "NOT stored" in receipt.reason
        with pytest.raises(AuditUnavailableError, match="key of a subject"):
            manager.record("qa", "a", {}, "success", user_id="bob").wait(10)
        assert manager.emit("kaizen.tool.execute", {"note": "of nobody"}).wait(10)
        assert manager.shutdown(10_000)
        gaps = [r.attributes for r in house.records() if r.event_name == "kaizen.audit.gap"]
        assert gaps
        assert {gap["kaizen.audit.gap.reason"] for gap in gaps} == {"subject_key"}
    else:
        [record] = [r for r in house.records() if r.record_id == receipt.record_id]
        assert record.attributes[SUBJECT] == pure.UNAVAILABLE
        key = Pseudonyms(read_key(str(tmp_path / "spool"), filesystem=OsFilesystem()))
        assert key.of("bob") not in record.attributes.values()


def test_a_store_of_the_callers_own_works_as_the_directory_does(tmp_path: Path) -> None:
    class Table:
        def __init__(self) -> None:
            self.rows: dict[str, bytes] = {}

        def load(self, name: str) -> bytes | None:
            return self.rows.get(name)

        def store(self, name: str, data: bytes) -> bytes:
            return self.rows.setdefault(name, data)

        def remove(self, name: str) -> None:
            self.rows.pop(name, None)

        def names(self) -> list[str]:
            return list(self.rows)

    table, house = Table(), House(tmp_path)
    manager = AuditTrailManager(
        config=house.config, transport=FakeTransport(), subject_keys=table, warn=print
    )
    fill(manager, 1)
    assert len(table.rows) == len(USERS)
    assert not (tmp_path / "subjects").exists()
    assert manager.shutdown(5_000)
