"""Keys of subjects: what is stored of them, what records hold of a subject, what erasing leaves."""

from __future__ import annotations

import errno
import hmac
import json
import os
import random
import threading
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._subject_keys import DiskSubjectKeys, master_key
from kaizen_otel._subjects import LIFETIME_NS, AesGcm, Subjects
from kaizen_otel.audit import subjects as pure
from kaizen_otel.audit._content import Pseudonyms, protect
from kaizen_otel.audit.record import ACTOR_ID, ACTOR_TYPE, SUBJECT
from kaizen_otel.errors import ConfigError, SubjectKeyError
from kaizen_otel.testing import FixedClock, MemoryFilesystem
from kaizen_otel.testing.memory_filesystem import Fault, fail_call, fail_operation

KEYS = "/keys"
MASTER = bytes(range(32))
SECOND_MS = LIFETIME_NS / 1e6
CIPHER = AesGcm()
BOB = pure.SubjectKey(subject="5a0c", key=b"b" * 32)
EVE = pure.SubjectKey(subject="77e1", key=b"e" * 32)


def process(
    filesystem: MemoryFilesystem,
    *,
    clock: FixedClock | None = None,
    is_strict: bool = False,
    is_encrypting: bool = True,
    warnings: list[str] | None = None,
    master: bytes = MASTER,
) -> Subjects:
    """The subjects as one process on that disk has them."""
    clock = clock or FixedClock()
    return Subjects(
        DiskSubjectKeys(KEYS, filesystem=filesystem, clock=clock),
        master=lambda: master,
        clock=clock,
        is_encrypting=is_encrypting,
        is_strict=is_strict,
        warn=(list[str]() if warnings is None else warnings).append,
    )


def pseudonyms(record_id: str = "r1", key: pure.SubjectKey = BOB) -> pure.SubjectPseudonyms:
    return pure.SubjectPseudonyms(key, record_id=record_id, cipher=CIPHER, random_bytes=os.urandom)


def seen(filesystem: MemoryFilesystem) -> dict[str, bytes]:
    return {n: filesystem.read(f"{KEYS}/{n}", 0, 1 << 16) for n in filesystem.names(KEYS)}


class TestStoredForm:
    """What lies in the store opens with its master key, under its name, unchanged; else never."""

    def test_a_wrapped_key_opens_under_its_name_with_its_master_key(self) -> None:
        stored = pure.wrap(BOB, "n", master=MASTER, cipher=CIPHER, random_bytes=os.urandom)
        assert pure.unwrap(stored, "n", master=MASTER, cipher=CIPHER) == BOB
        assert BOB.key not in stored
        assert pure.subject_of_stored(stored) == BOB.subject

    def test_it_opens_under_no_other_name(self) -> None:
        """Else whoever may write the store could give one person's records to another's key."""
        stored = pure.wrap(BOB, "n", master=MASTER, cipher=CIPHER, random_bytes=os.urandom)
        with pytest.raises(SubjectKeyError, match="damaged or another"):
            pure.unwrap(stored, "m", master=MASTER, cipher=CIPHER)

    def test_another_master_key_is_named_as_the_cause(self) -> None:
        stored = pure.wrap(BOB, "n", master=MASTER, cipher=CIPHER, random_bytes=os.urandom)
        with pytest.raises(SubjectKeyError, match="KAIZEN_OTEL_SUBJECT_MASTER_KEY"):
            pure.unwrap(stored, "n", master=bytes(32), cipher=CIPHER)

    @given(st.data())
    def test_no_change_of_the_stored_form_opens(self, data: st.DataObject) -> None:
        stored = bytearray(
            pure.wrap(BOB, "n", master=MASTER, cipher=CIPHER, random_bytes=os.urandom)
        )
        place = data.draw(st.integers(0, len(stored) - 1))
        stored[place] ^= data.draw(st.integers(1, 255))
        try:
            found = pure.unwrap(bytes(stored), "n", master=MASTER, cipher=CIPHER)
        except SubjectKeyError:
            return
        assert found == BOB, "what still opens says the same (another space between members)"

    @given(st.binary(max_size=200) | st.sampled_from([b"[]", b"{}", b"null", b'{"version":1}']))
    def test_rubbish_is_an_error_of_ours(self, rubbish: bytes) -> None:
        with pytest.raises(SubjectKeyError):
            pure.unwrap(rubbish, "n", master=MASTER, cipher=CIPHER)
        assert pure.subject_of_stored(rubbish) == ""


class TestRecords:
    """What a record of a subject says and what it keeps."""

    @given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
    def test_what_was_hidden_is_revealed_byte_by_byte(self, data: bytes) -> None:
        result: dict[str, object] = {}
        pseudonyms().hide(result, "details.note", data)
        found = pure.reveal(result, record_id="r1", subject=BOB, cipher=CIPHER)
        assert found == {"details.note": data}

    def test_a_ciphertext_opens_in_its_record_at_its_attribute_with_its_key_only(self) -> None:
        result: dict[str, object] = {}
        pseudonyms().hide(result, "a", b"secret")
        moved = {"kaizen.enc.b": result["kaizen.enc.a"]}
        for attributes, record_id, key in (
            (result, "r2", BOB),
            (moved, "r1", BOB),
            (result, "r1", EVE),
            ({"kaizen.enc.a": "nothing of ours"}, "r1", BOB),
            ({"kaizen.enc.a": "x:y:-:-"}, "r1", BOB),
        ):
            with pytest.raises(SubjectKeyError):
                pure.reveal(attributes, record_id=record_id, subject=key, cipher=CIPHER)

    def test_equal_values_have_equal_hmacs_and_different_ciphertexts(self) -> None:
        first: dict[str, object] = {}
        second: dict[str, object] = {}
        pseudonyms("r1").hide(first, "a", b"secret")
        pseudonyms("r2").hide(second, "a", b"secret")
        assert first["kaizen.hmac.a"] == second["kaizen.hmac.a"]
        assert first["kaizen.enc.a"] != second["kaizen.enc.a"]

    def test_every_name_of_the_subject_becomes_a_pseudonym_of_its_own_key(self) -> None:
        """Also the pseudonyms that came from elsewhere: they would outlive the subject's key."""
        names = pseudonyms()
        found = names.identify(
            {
                ACTOR_ID: Pseudonyms(bytes(32)).of("bob"),
                ACTOR_TYPE: "user",
                "user.hash": "364e528cc8aa",
                "enduser.pseudo.id": "QdH5CAWJgqVT4rOr0qtumf",
                "gen_ai.agent.name": "qa",
            }
        )
        assert found.pop(SUBJECT) == BOB.subject
        assert found.pop("gen_ai.agent.name") == "qa"
        assert found.pop(ACTOR_TYPE) == "user"
        prefix = f"hmac-sha256:{names.key_id}:"
        assert all(str(value).startswith(prefix) for value in found.values())
        assert len(found) == 3
        agent = {ACTOR_ID: "agent-7", ACTOR_TYPE: "service"}
        assert names.identify(agent)[ACTOR_ID] == "agent-7"

    def test_large_values_and_many_values_stay_hmacs(self) -> None:
        names, result = pseudonyms(), dict[str, object]()
        names.hide(result, "large", bytes(pure.ENCRYPTED_VALUE_BYTES_MAX + 1))
        assert "kaizen.enc.large" not in result
        for number in range(100):
            names.hide(result, f"n.{number}", bytes(1000))
        encrypted = {k: v for k, v in result.items() if k.startswith("kaizen.enc.")}
        assert 5 < len(encrypted) < 20
        size = sum(len(k) + len(str(v)) for k, v in encrypted.items())
        assert size <= pure.ENCRYPTED_RECORD_BYTES_MAX
        assert len(result) == 2 * 101 + len(encrypted)

    @pytest.mark.parametrize(
        ("attributes", "user"),
        [
            ({ACTOR_ID: "bob", ACTOR_TYPE: "user", "user.id": "eve"}, "bob"),
            ({ACTOR_ID: "agent", ACTOR_TYPE: "service", "user.id": "eve"}, "eve"),
            ({"enduser.id": 42}, "42"),
            ({"user.name": "Ева", "user.email": "e@v.e"}, "e@v.e"),
            ({"user.hash": "364e528cc8aa"}, "364e528cc8aa"),
            ({"gen_ai.agent.name": "qa"}, None),
            ({"user.id": ""}, None),
        ],
    )
    def test_the_subject_is_the_user_who_acts_or_is_named(
        self, attributes: dict[str, object], user: str | None
    ) -> None:
        assert pure.user_of(attributes) == user

    def test_content_goes_through_the_same_rules_as_ever(self) -> None:
        found = protect(
            {"gen_ai.tool.call.arguments": {"q": "x"}, "gen_ai.tool.name": "t"}, pseudonyms()
        )
        assert found["gen_ai.tool.name"] == "t"
        assert {"kaizen.hmac.input", "kaizen.bytes.input", "kaizen.enc.input"} <= found.keys()


class TestProcesses:
    """Keys are made once, found by all, and forgotten within a second of their erasure."""

    def test_two_processes_use_one_key_per_subject(self) -> None:
        disk = MemoryFilesystem()
        one, two = process(disk), process(disk)
        first = one.pseudonyms("bob", "r1")
        assert two.pseudonyms("bob", "r2").of("bob") == first.of("bob")
        assert two.pseudonyms("eve", "r3").of("bob") != first.of("bob")
        assert {"bob", "eve"}.isdisjoint(seen(disk))
        assert len([name for name in seen(disk) if name.endswith(".key")]) == 2

    def test_many_threads_make_one_key(self, tmp_path: Path) -> None:
        keys = DiskSubjectKeys(str(tmp_path / "k"), filesystem=OsFilesystem(), clock=SystemClock())
        found: set[str] = set()

        def use() -> None:
            mine = Subjects(
                keys, master=lambda: MASTER, clock=SystemClock(), warn=list[str]().append
            )
            found.update(mine.pseudonyms(f"user {n}", "r").of("x") for n in range(5))

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 5
        assert {p.stat().st_mode & 0o777 for p in (tmp_path / "k").iterdir()} == {0o600}
        assert (tmp_path / "k").stat().st_mode & 0o777 == 0o700

    def test_after_an_erasure_others_use_a_new_key_within_a_second(self) -> None:
        disk, clock = MemoryFilesystem(), FixedClock()
        one, two = process(disk, clock=clock), process(disk, clock=clock)
        before = two.pseudonyms("bob", "r1").of("bob")
        [subject] = one.erase("bob")
        one.recorded(subject)
        clock.advance(SECOND_MS)
        after = two.pseudonyms("bob", "r2")
        assert after.of("bob") != before
        assert after.identify({})[SUBJECT] != subject
        assert one.pseudonyms("bob", "r3").of("bob") == after.of("bob")

    def test_keys_that_are_not_used_any_more_are_forgotten_as_well(self) -> None:
        disk, clock = MemoryFilesystem(), FixedClock()
        one = process(disk, clock=clock)
        one.pseudonyms("bob", "r1")
        clock.advance(SECOND_MS)
        one.pseudonyms("eve", "r2")
        assert len(one._remembered) == 1

    def test_a_key_is_looked_up_once_a_second_and_not_more_often(self) -> None:
        disk, clock = MemoryFilesystem(), FixedClock()
        one = process(disk, clock=clock)
        one.pseudonyms("bob", "r1")
        disk.fault = fail_operation("try_lock", Fault())
        calls = len(disk.calls)
        for _ in range(100):
            one.pseudonyms("bob", "r")
        assert len(disk.calls) == calls

    def test_what_is_remembered_is_bounded(self) -> None:
        one = process(MemoryFilesystem(), is_encrypting=False)
        for number in range(1030):
            one.pseudonyms(f"user {number}", "r")
        assert len(one._remembered) <= 1024

    def test_a_forked_child_has_its_own_locks_and_remembers_nothing(self, tmp_path: Path) -> None:
        keys = DiskSubjectKeys(str(tmp_path / "k"), filesystem=OsFilesystem(), clock=SystemClock())
        mine = Subjects(keys, master=lambda: MASTER, clock=SystemClock(), warn=list[str]().append)
        expected = mine.pseudonyms("bob", "r").of("bob").encode()
        reader, writer = os.pipe()
        with mine._lock:
            child = os.fork()
        if child == 0:
            try:
                is_new = not mine._remembered
                found = mine.pseudonyms("bob", "r").of("bob").encode()
                os.write(writer, found if is_new else b"remembered")
            finally:
                os._exit(0)
        os.close(writer)
        assert os.read(reader, 1000) == expected
        os.close(reader)
        os.waitpid(child, 0)

    def test_find_and_pseudonym_make_no_key(self) -> None:
        disk = MemoryFilesystem()
        one = process(disk)
        assert one.find("bob") is None
        assert one.pseudonym("bob") is None
        made = one.pseudonyms("bob", "r")
        assert one.pseudonym("bob") == made.of("bob")
        assert [key.subject for key in one.all()] == [made.identify({})[SUBJECT]]


class TestErasure:
    """Done means gone, durably; not done means said so, and a second call finishes it."""

    def test_nothing_on_the_disk_opens_afterwards(self) -> None:
        disk = MemoryFilesystem()
        one = process(disk)
        record: dict[str, object] = {}
        kept = one.pseudonyms("bob", "r1")
        kept.hide(record, "a", b"secret")
        [subject] = one.erase("bob")
        for after in (disk.kill_process(), disk.lose_power()):
            late = process(after)
            assert late.find("bob") is None
            assert list(late.all()) == []
            made = late.pseudonyms("bob", "r9")
            assert made.of("bob") != kept.of("bob")
        assert subject.encode() in json.dumps(list(seen(disk))).encode(), "until it is recorded"
        one.recorded(subject)
        assert [name for name in seen(disk) if name.endswith(".key")] == []

    def test_erasing_nobody_is_no_error_and_no_record(self) -> None:
        one = process(MemoryFilesystem())
        assert one.erase("bob") == []
        one.pseudonyms("bob", "r")
        [subject] = one.erase("bob")
        assert one.erase("bob") == [subject], "its record is not written yet"
        one.recorded(subject)
        assert one.erase("bob") == []

    def test_the_file_is_overwritten_before_it_is_removed(self) -> None:
        disk = MemoryFilesystem()
        one = process(disk)
        one.pseudonyms("bob", "r")
        one.erase("bob")
        operations = [c.operation for c in disk.calls if c.operation in {"overwrite", "remove"}]
        assert operations[-2:] == ["overwrite", "remove"]

    def test_a_record_that_another_attempt_left_is_asked_for_again(self) -> None:
        disk = MemoryFilesystem()
        one = process(disk)
        one.pseudonyms("bob", "r")
        one.pseudonyms("eve", "r")
        [bob] = one.erase("bob")
        found = process(disk.kill_process()).erase("eve")
        assert bob in found
        assert len(found) == 2

    def test_a_subject_whose_key_is_still_there_is_never_called_erased(self) -> None:
        disk = MemoryFilesystem()
        one = process(disk)
        one.pseudonyms("bob", "r")
        one.pseudonyms("eve", "r")
        eve = one.find("eve")
        assert eve is not None
        disk.fault = fail_operation("remove", Fault(error=errno.EROFS))
        with pytest.raises(OSError, match="Read-only"):
            one.erase("bob")
        disk.fault = None
        [bob] = [subject for subject in one.erase("bob") if subject != eve.subject]
        assert one.find("eve") == eve
        assert bob


def _fill(disk: MemoryFilesystem) -> str:
    one = process(disk)
    return one.pseudonyms("bob", "r1").of("bob")


@pytest.mark.parametrize("effect", ["none", "full", "short"])
@pytest.mark.parametrize("seed", range(2))
def test_a_disk_that_fails_at_any_call_never_gives_half_an_erasure(effect: str, seed: int) -> None:
    """Done and then a power cut: the key is gone.  Not done: the next attempt names the subject."""
    reference = MemoryFilesystem()
    before = _fill(reference)
    calls = len(reference.calls)
    process(reference).erase("bob")
    steps = len(reference.calls) - calls
    assert steps > 8
    for step in range(1, steps + 2):
        disk = MemoryFilesystem()
        before = _fill(disk)
        key = process(disk).find("bob")
        assert key is not None
        calls = len(disk.calls)
        disk.fault = fail_call(calls + step, Fault(effect=effect))  # type: ignore[arg-type]
        try:
            done = process(disk).erase("bob")
        except OSError:
            done = []
        disk.fault = None
        after = disk.lose_power(random.Random(seed)) if seed else disk.lose_power()
        late = process(after)
        if done:
            assert done == [key.subject]
            assert late.find("bob") is None, f"step {step}"
        assert late.erase("bob") == [key.subject], f"step {step}"
        assert late.find("bob") is None
        assert late.pseudonyms("bob", "r2").of("bob") != before
        named = set(done) | {n for n in after.names(KEYS) if key.subject in n}
        assert named, f"step {step}: nobody can name the subject that was erased"


@pytest.mark.parametrize("effect", ["none", "full", "short"])
def test_a_key_is_used_only_when_it_is_durable(effect: str) -> None:
    """By its maker, and by a process that finds it before its maker has synced it."""
    reference = MemoryFilesystem()
    _fill(reference)
    for step in range(1, len(reference.calls) + 1):
        disk = MemoryFilesystem(fault=fail_call(step, Fault(effect=effect)))  # type: ignore[arg-type]
        for maker in (process(disk, is_strict=True), process(disk, is_strict=True)):
            try:
                used = maker.pseudonyms("bob", "r1").of("bob")
            except SubjectKeyError:
                continue
            found = process(disk.lose_power()).find("bob")
            assert found is not None, f"step {step}"
            again = process(disk.lose_power()).pseudonyms("bob", "r2").of("bob")
            assert again == used, f"step {step}"


def test_saboteur_a_store_that_does_not_sync_is_caught() -> None:
    class Careless(MemoryFilesystem):
        def sync_directory(self, path: str) -> None:
            del path

    disk = Careless()
    disk.make_directory(KEYS)
    MemoryFilesystem.sync_directory(disk, "/")
    used = process(disk, is_strict=True).pseudonyms("bob", "r1").of("bob")
    assert process(disk.lose_power()).pseudonyms("bob", "r2").of("bob") != used


class TestFailures:
    """What a record is when a key cannot be had."""

    def test_the_record_goes_on_without_an_identity_and_somebody_is_told(self) -> None:
        disk, warnings = MemoryFilesystem(), list[str]()
        disk.fault = fail_operation("create", Fault(error=errno.ENOSPC))
        one = process(disk, warnings=warnings)
        found = one.pseudonyms("bob", "r1")
        assert found.identify({})[SUBJECT] == pure.UNAVAILABLE
        assert found.of("bob") != one.pseudonyms("bob", "r2").of("bob"), "linked with nothing"
        result: dict[str, object] = {}
        found.hide(result, "a", b"secret")
        assert "kaizen.enc.a" not in result, "nobody could ever read it"
        assert "KAIZEN_OTEL_SUBJECT_KEYS" in warnings[0]
        assert "No space left" in warnings[0]

    def test_strict_refuses(self) -> None:
        disk = MemoryFilesystem(fault=fail_operation("sync", Fault(error=errno.EIO)))
        with pytest.raises(SubjectKeyError, match="NOT stored"):
            process(disk, is_strict=True).pseudonyms("bob", "r1")

    def test_a_store_that_raises_anything_gives_nothing_of_its_text_away(self) -> None:
        class Odd(DiskSubjectKeys):
            def load(self, name: str) -> bytes | None:
                raise RuntimeError("no row for bob@example.org")

        warnings: list[str] = []
        clock = FixedClock()
        one = Subjects(
            Odd(KEYS, filesystem=MemoryFilesystem(), clock=clock),
            master=lambda: MASTER,
            clock=clock,
            warn=warnings.append,
        )
        one.pseudonyms("bob@example.org", "r")
        assert "RuntimeError" in warnings[0]
        assert "bob" not in warnings[0]

    def test_a_lock_that_is_never_given_up_is_an_error_and_no_hang(self) -> None:
        class Instant(FixedClock):
            def wait(self, event: threading.Event, timeout_ns: int) -> bool:
                del event, timeout_ns
                return False

        disk = MemoryFilesystem()
        disk.make_directory(KEYS)
        assert disk.try_lock(f"{KEYS}/lock") is not None
        keys = DiskSubjectKeys(KEYS, filesystem=disk, clock=Instant())
        with pytest.raises(TimeoutError, match="another process"):
            keys.store("a", b"x")

    def test_a_damaged_file_is_an_error_until_it_is_erased(self) -> None:
        disk = MemoryFilesystem()
        one = process(disk, is_strict=True)
        one.pseudonyms("bob", "r")
        [name] = [name for name in disk.names(KEYS) if name.endswith(".key")]
        disk.flip_bit(f"{KEYS}/{name}", 0)
        late = process(disk.kill_process(), is_strict=True)
        with pytest.raises(SubjectKeyError, match="damaged"):
            late.pseudonyms("bob", "r")
        assert late.erase("bob") == []
        assert late.pseudonyms("bob", "r").of("bob")


class TestMasterKey:
    """Given by file or text, else made once, and never beside what it protects."""

    def key(self, setting: str | None, disk: MemoryFilesystem, keys: str | None = KEYS) -> bytes:
        return master_key(
            setting, directory="/spool", keys_directory=keys, filesystem=disk, clock=FixedClock()
        )

    def test_it_is_made_once_and_durable(self) -> None:
        disk = MemoryFilesystem()
        made = self.key(None, disk)
        assert len(made) == 32
        assert self.key(None, disk.lose_power()) == made

    def test_it_comes_from_base64_or_a_file_with_either(self) -> None:
        disk = MemoryFilesystem()
        text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        assert self.key(text, disk) == MASTER
        for name, content in (("/raw", MASTER), ("/text", text.encode() + b"\n")):
            handle = disk.create(name)
            disk.write(handle, content)
            assert self.key(name, disk) == MASTER

    def test_a_key_of_another_size_is_refused_and_not_shown(self) -> None:
        disk = MemoryFilesystem()
        handle = disk.create("/short")
        disk.write(handle, b"hunter2")
        with pytest.raises(ConfigError, match="32 bytes") as caught:
            self.key("/short", disk)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("setting", [None, "/keys/master.key", "/keys/../keys/m"])
    def test_it_may_not_lie_beside_what_it_protects(self, setting: str | None) -> None:
        keys = "/spool" if setting is None else KEYS
        with pytest.raises(ConfigError, match="beside the keys"):
            self.key(setting, MemoryFilesystem(), keys)


def test_the_formats_are_those_that_are_described() -> None:
    """Read by ``cryptography`` and the description alone; the constants keep them as they are."""

    def purpose(key: bytes, what: bytes) -> bytes:
        return hmac.digest(key, b"kaizen-otel " + what, "sha256")

    def opened(key: bytes, nonce: str, sealed: str, associated: bytes) -> bytes:
        plain = AESGCM(key).decrypt(b64decode(nonce), b64decode(sealed), associated)
        assert isinstance(plain, bytes)
        return plain

    def fixed(size: int) -> bytes:
        return bytes(range(100, 100 + size))

    key = pure.SubjectKey(subject="0b5b1c2e-6a4d-4d7a-8a53-2f3f5c1a9e10", key=bytes(range(32, 64)))
    name = hmac.digest(purpose(MASTER, b"subject names"), b"bob@example.org", "sha256").hex()
    assert name == pure.name_of("bob@example.org", pure.names_key(MASTER))
    stored = json.loads(pure.wrap(key, name, master=MASTER, cipher=CIPHER, random_bytes=fixed))
    bound = f'["{key.subject}", "{name}"]'.encode()
    assert opened(MASTER, stored["nonce"], stored["key"], bound) == key.key
    assert (stored["version"], stored["master"]) == (1, "5bd318686462a9e2")

    record_id = "01a20f60-da13-7e3f-9a92-1b1c677f1c4c"
    names = pure.SubjectPseudonyms(key, record_id=record_id, cipher=CIPHER, random_bytes=fixed)
    digest = hmac.digest(purpose(key.key, b"subject pseudonyms"), b"bob", "sha256").hex()
    assert names.of("bob") == f"hmac-sha256:61166dc9aa8e349d:{digest}"
    result: dict[str, object] = {}
    names.hide(result, "details.order", b"A-1138")
    text = str(result["kaizen.enc.details.order"])
    assert text == (
        "aes-256-gcm:61166dc9aa8e349d:ZGVmZ2hpamtsbW5v:DAl8j/tDUyVpSTrblyOvwlHOC463KA=="
    )
    _, _, nonce, sealed = text.split(":")
    bound = f'["{record_id}", "kaizen.enc.details.order"]'.encode()
    assert opened(purpose(key.key, b"subject content"), nonce, sealed, bound) == b"A-1138"


def test_file_names_cannot_be_tested_without_the_master_key() -> None:
    name = pure.name_of("bob", pure.names_key(MASTER))
    assert name != pure.name_of("bob", pure.names_key(bytes(32)))
    assert name == pure.name_of("bob", pure.names_key(MASTER))
