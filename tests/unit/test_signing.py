"""Where the signing key comes from, what a wrong one does, and that nobody gets to see it."""

from __future__ import annotations

import copy
import errno
import pickle
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from kaizen_otel._edges import SystemClock
from kaizen_otel._signing import (
    SETTING,
    Ed25519Signer,
    Signer,
    public_key_from,
    signer_from,
    signer_from_file,
    signer_or_explain,
    verify_signature,
)
from kaizen_otel.audit.signatures import decode_base64, encode_base64, is_usable, key_id_of
from kaizen_otel.config import Config
from kaizen_otel.errors import ConfigError
from kaizen_otel.testing.memory_filesystem import (
    Call,
    Effect,
    Fault,
    MemoryFilesystem,
    fail_call,
    fail_operation,
)

ROOT = "/state/spool"
OWN = f"{ROOT}/signing.key"
FILE = "/key.pem"


PrivateKey = (
    dsa.DSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed448.Ed448PrivateKey
    | ed25519.Ed25519PrivateKey
    | rsa.RSAPrivateKey
    | x25519.X25519PrivateKey
)
KINDS: dict[str, Callable[[], PrivateKey]] = {
    "DSA": lambda: dsa.generate_private_key(1024),
    "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
    "Ed448": ed448.Ed448PrivateKey.generate,
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "X25519": x25519.X25519PrivateKey.generate,
}


@cache
def private_pem(kind: str) -> bytes:
    """An unencrypted private key of a kind."""
    return KINDS[kind]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def own_pem() -> bytes:
    return private_pem("Ed25519")


def seed_of(pem: bytes) -> str:
    """The part of a PEM file that is the secret, as it would show in a text."""
    return pem.decode().splitlines()[1]


def with_file(data: bytes, filesystem: MemoryFilesystem | None = None) -> MemoryFilesystem:
    disk = filesystem or MemoryFilesystem()
    handle = disk.create(FILE)
    disk.write(handle, data)
    disk.close(handle)
    return disk


class House:
    """One process that looks for its signer; keeps what it was told."""

    def __init__(self, filesystem: MemoryFilesystem | None = None) -> None:
        self.filesystem = filesystem or MemoryFilesystem()
        self.warned: list[str] = []
        self.said: list[str] = []

    def signer(self, setting: str | None = None) -> Signer:
        return signer_from(
            setting,
            directory=ROOT,
            filesystem=self.filesystem,
            clock=SystemClock(),
            warn=self.warned.append,
            say=self.said.append,
        )

    def signer_or_none(self, setting: str | None = None) -> Signer | None:
        return signer_or_explain(
            setting,
            directory=ROOT,
            filesystem=self.filesystem,
            clock=SystemClock(),
            warn=self.warned.append,
            say=self.said.append,
        )


class TestSigner:
    """A key and its id."""

    def test_what_it_signs_verifies_under_its_public_key_and_no_other(self) -> None:
        signer, other = Ed25519Signer.generate(), Ed25519Signer.generate()
        signature = signer.sign(b"data")
        assert len(signature) == 64
        assert verify_signature(signer.public_key, signature, b"data")
        assert not verify_signature(signer.public_key, signature, b"date")
        assert not verify_signature(other.public_key, signature, b"data")
        assert signer.key_id == key_id_of(signer.public_key) != other.key_id

    def test_the_id_is_the_beginning_of_the_hash_of_the_raw_public_key(self) -> None:
        """RFC 8032, section 7.1, test 1: its public key, and signature of nothing."""
        public_key = bytes.fromhex(
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        )
        signature = bytes.fromhex(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39"
            "701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        )
        assert key_id_of(public_key) == "21fe31dfa154a261626bf854046fd227"
        assert verify_signature(public_key, signature, b"")

    def test_its_pem_is_the_same_key(self) -> None:
        signer = Ed25519Signer.generate()
        assert Ed25519Signer.from_pem(signer.to_pem()).public_key == signer.public_key
        pem = signer.public_pem().encode()
        assert public_key_from(pem, source="x") == signer.public_key

    @pytest.mark.parametrize("leave", [pickle.dumps, copy.deepcopy])
    def test_it_shows_its_id_only_and_is_never_written_out(
        self, leave: Callable[[object], object]
    ) -> None:
        signer = Ed25519Signer.from_pem(own_pem())
        assert repr(signer) == f"Ed25519Signer(key_id='{signer.key_id}')"
        assert str(signer) == repr(signer)
        assert not hasattr(signer, "__dict__")
        if leave is pickle.dumps:
            with pytest.raises(TypeError):
                leave(signer)


class TestSetting:
    """KAIZEN_OTEL_SIGNING_KEY: a path or the text."""

    FORMS: ClassVar[dict[str, Callable[[], bytes]]] = {
        "PKCS 8": own_pem,
        "OpenSSH": lambda: Ed25519Signer.from_pem(own_pem())._key.private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        ),
        "Windows line ends": lambda: own_pem().replace(b"\n", b"\r\n"),
        "a byte order mark": lambda: b"\xef\xbb\xbf" + own_pem(),
        "space around it": lambda: b"\n\n" + own_pem() + b"\n\n",
    }

    @pytest.mark.parametrize("form", FORMS)
    def test_a_file_is_read_in_the_form(self, form: str) -> None:
        house = House(with_file(self.FORMS[form]()))
        assert house.signer(FILE).key_id == Ed25519Signer.from_pem(own_pem()).key_id
        assert house.warned == house.said == []

    @pytest.mark.parametrize(
        "text",
        [
            lambda: own_pem().decode(),
            lambda: own_pem().decode().strip(),
            lambda: f"\n  {own_pem().decode()}\n",
            lambda: own_pem().decode().strip().replace("\n", "\\n"),
        ],
    )
    def test_the_text_itself_is_taken_also_on_one_line(self, text: Callable[[], str]) -> None:
        house = House()
        assert house.signer(text()).key_id == Ed25519Signer.from_pem(own_pem()).key_id
        assert house.filesystem.calls == []

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
    def test_a_file_that_others_can_use_is_used_and_warned_about(self, mode: int) -> None:
        class Open(MemoryFilesystem):
            def mode(self, path: str) -> int:
                return stat.S_IFREG | mode

        house = House(with_file(own_pem(), Open()))
        assert house.signer(FILE).key_id
        [warning] = house.warned
        assert FILE in warning
        assert f"{mode:04o}" in warning
        assert "chmod 600" in warning


def unusable() -> dict[str, tuple[bytes, str]]:
    """What a key file may hold that is no key to sign with, and what the message says."""
    key = Ed25519Signer.from_pem(own_pem())._key
    encrypted = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "nothing": (b"", "is empty"),
        "space": (b" \n\n", "is empty"),
        "encrypted": (encrypted, "encrypted"),
        "a public key": (public, "a public key"),
        "a certificate": (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "PEM"),
        "no PEM": (b"abc", "no private key in PEM form"),
        "binary": (bytes(range(256)), "no private key in PEM form"),
        "the raw seed": (key.private_bytes_raw(), "no private key in PEM form"),
        "half a key": (own_pem()[:60], "no private key in PEM form"),
        "a damaged key": (own_pem().replace(b"MC4C", b"MC5C"), "no private key in PEM form"),
        **{
            kind: (private_pem(kind), f"a key of kind {kind}")
            for kind in KINDS.keys() - {"Ed25519"}
        },
    }


class TestUnusable:
    """A wrong key is named, with what to do; nothing else is used in its place."""

    @pytest.mark.parametrize("case", sorted(unusable()))
    def test_a_file_that_holds_no_such_key(self, case: str) -> None:
        data, expected = unusable()[case]
        house = House(with_file(data))
        with pytest.raises(ConfigError) as raised:
            house.signer(FILE)
        assert expected in str(raised.value)
        assert SETTING in str(raised.value)
        assert FILE in str(raised.value)
        assert raised.value.__cause__ is None
        assert house.said == []

    @pytest.mark.parametrize("case", ["encrypted", "RSA", "half a key", "a certificate"])
    def test_a_text_that_is_no_such_key(self, case: str) -> None:
        data, expected = unusable()[case]
        with pytest.raises(ConfigError, match=expected) as raised:
            House().signer(data.decode())
        assert f"the text in {SETTING}" in str(raised.value)

    def test_a_missing_file(self) -> None:
        with pytest.raises(ConfigError, match="No such file") as raised:
            House().signer("/run/secrets/signing.pem")
        assert "/run/secrets/signing.pem" in str(raised.value)
        assert SETTING in str(raised.value)

    @pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFDIR, stat.S_IFCHR, stat.S_IFSOCK])
    def test_what_is_no_file_is_not_opened(self, kind: int) -> None:
        """A pipe would be waited for, for ever."""

        class Strange(MemoryFilesystem):
            def mode(self, path: str) -> int:
                return kind | 0o600

            def read(self, path: str, offset: int, size: int) -> bytes:
                raise AssertionError

        with pytest.raises(ConfigError, match="no regular file"):
            House(Strange()).signer(FILE)

    def test_a_file_of_any_size_is_not_read_whole(self) -> None:
        with pytest.raises(ConfigError, match="larger than"):
            House(with_file(b"x" * 70_000)).signer(FILE)

    @pytest.mark.parametrize("path", ["/key\0.pem", "/a/" * 2000])
    def test_a_path_that_cannot_be_one(self, path: str) -> None:
        class Real(MemoryFilesystem):
            def mode(self, path: str) -> int:
                if "\0" in path:
                    raise ValueError("embedded null byte")
                raise OSError(errno.ENAMETOOLONG, "File name too long", path)

        with pytest.raises(ConfigError, match="cannot be read"):
            House(Real()).signer(path)

    @pytest.mark.parametrize("case", ["encrypted", "RSA", "no PEM", "nothing"])
    def test_records_are_stored_unsigned_with_one_warning(self, case: str) -> None:
        """Another key than the one asked for would be worse, and no record would be worst."""
        house = House(with_file(unusable()[case][0]))
        assert house.signer_or_none(FILE) is None
        [warning] = house.warned
        assert "UNSIGNED" in warning
        assert SETTING in warning
        assert house.said == []

    def test_a_good_one_is_just_used(self) -> None:
        house = House(with_file(own_pem()))
        signer = house.signer_or_none(FILE)
        assert signer is not None
        assert signer.key_id == Ed25519Signer.from_pem(own_pem()).key_id
        assert house.warned == []


class TestSecrecy:
    """The private key is in its file and nowhere else."""

    def _texts(self) -> Iterator[tuple[str, str]]:
        """Everything that can be said about the one key, wherever it stands."""
        pem = own_pem()
        der = seed_of(pem)
        raw = Ed25519Signer.from_pem(pem)._key.private_bytes_raw()
        settings = [
            *(pem.decode()[:size] for size in range(30, len(pem), 7)),
            der,
            f" {der}\n",
            der.rstrip("="),
            encode_base64(raw),
            encode_base64(raw).replace("+", "-").replace("/", "_"),
            raw.hex(),
            "/" + encode_base64(raw),
            pem.decode().replace("PRIVATE", "PRIVAT"),
            pem.decode().replace("-----BEGIN", "----BEGIN"),
        ]
        for setting in settings:
            house = House()
            house.signer_or_none(setting)
            yield setting, "\n".join([*house.warned, *house.said])
        for content in [*map(str.encode, settings), raw, b"ssh-ed25519 " + der.encode()]:
            house = House(with_file(content))
            house.signer_or_none(FILE)
            yield "a file", "\n".join([*house.warned, *house.said])
            try:
                public_key_from(content, source="a file")
            except ConfigError as error:
                yield "a file as public key", str(error)

    def test_no_message_holds_a_part_of_it(self) -> None:
        raw = Ed25519Signer.from_pem(own_pem())._key.private_bytes_raw()
        forms = (seed_of(own_pem())[20:], encode_base64(raw), raw.hex(), repr(raw)[2:-1])
        parts = {form[at : at + 8] for form in forms for at in range(len(form) - 8)}
        count = 0
        for setting, text in self._texts():
            count += 1
            assert not [part for part in parts if part in text], (setting[:10], text)
        assert count > 40

    def test_the_configuration_holds_it_and_does_not_show_it(self) -> None:
        config = Config.from_environment({SETTING: own_pem().decode()})
        assert House().signer(config.audit.signing_key).key_id
        assert seed_of(own_pem())[20:28] not in repr(config) + str(config) + repr(config.audit)

    def test_a_made_key_is_only_in_its_file(self) -> None:
        house = House()
        signer = house.signer()
        pem = house.filesystem.read(OWN, 0, 1000)
        assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
        assert seed_of(pem) not in "".join(house.said) + repr(signer)
        names = house.filesystem.names(ROOT)
        assert names == ["signing.key", "signing.lock"]
        assert house.filesystem.size(f"{ROOT}/signing.lock") == 0


class NoSync(MemoryFilesystem):
    """Forgets to make bytes durable."""

    def sync(self, handle: int) -> None:
        """Do nothing."""


class NoDirectorySync(MemoryFilesystem):
    """Forgets to make names durable."""

    def sync_directory(self, path: str) -> None:
        """Do nothing."""


class NoLock(MemoryFilesystem):
    """Gives the lock to everyone; all four are about to write when the first one does."""

    def __init__(self) -> None:
        super().__init__()
        self.all_are_here = threading.Barrier(4, timeout=10)

    def try_lock(self, path: str) -> int | None:
        return super().try_lock(f"{path}-{threading.get_ident()}")

    def create(self, path: str) -> int:
        self.all_are_here.wait()
        return super().create(path)


class Overwrites(MemoryFilesystem):
    """Writes keys in place, as a program does that knows no better."""

    def create(self, path: str) -> int:
        return super().create(path.removesuffix(".new"))

    def rename(self, source: str, target: str) -> None:
        """It is there already."""

    def remove(self, path: str) -> None:
        super().remove(path.removesuffix(".new"))


def problems_with(make: Callable[[], MemoryFilesystem]) -> list[str]:
    """Fail every call and stop before every call: keys that were given and are not there then."""
    disk = make()
    problems = _after(disk, "no fault")
    effects: tuple[Effect, ...] = ("none", "full", "short")
    for number in range(1, len(disk.calls) + 1):
        for effect in effects:
            disk = make()
            disk.fault = fail_call(number, Fault(error=errno.EIO, effect=effect))
            problems += _after(disk, f"call {number} {effect}")
        for ending, left in _stopped(make(), number).items():
            problems += _broken(left, f"{ending} before call {number}", given=None)
    return problems


def _stopped(disk: MemoryFilesystem, number: int) -> dict[str, MemoryFilesystem]:
    """How a disk is found if the process or the machine stops before a call."""
    found: dict[str, MemoryFilesystem] = {}

    def stop(call: Call) -> None:
        if call.number == number:
            found.update(kill=disk.kill_process(), power=disk.lose_power())

    disk.fault = stop
    House(disk).signer()
    assert found
    return found


def _after(disk: MemoryFilesystem, what: str) -> list[str]:
    try:
        given = House(disk).signer().key_id
    except (OSError, ConfigError):
        given = None
    disk.fault = None
    problems: list[str] = []
    for ending, left in {"kill": disk.kill_process(), "power": disk.lose_power()}.items():
        problems += _broken(left, f"{what}, {ending}", given=given)
    # Another process uses what it finds there, and only then the power goes.
    other = House(disk.kill_process())
    with suppress(OSError, ConfigError):
        used = other.signer().key_id
        problems += _broken(other.filesystem.lose_power(), f"{what}, then used", given=used)
    return problems


def test_a_key_whose_maker_failed_to_sync_its_name_is_made_durable_by_who_uses_it() -> None:
    house = House()
    house.filesystem.fault = lambda call: (
        Fault() if call.operation == "sync_directory" and OWN in _renamed(house) else None
    )
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        house.signer()
    house.filesystem.fault = None
    assert house.said == []
    used = House(house.filesystem).signer().key_id
    assert House(house.filesystem.lose_power()).signer().key_id == used


def _renamed(house: House) -> list[str]:
    """The files that took the place of others."""
    calls = house.filesystem.calls
    return [call.path.removesuffix(".new") for call in calls if call.operation == "rename"]


def _broken(disk: MemoryFilesystem, what: str, *, given: str | None) -> list[str]:
    """What is wrong with the key of a disk, for the next two processes."""
    try:
        found = [House(disk).signer().key_id, House(disk).signer().key_id]
    except (OSError, ConfigError) as error:
        return [f"{what}: {error}"]
    if len({*found, given or found[0]}) > 1:
        return [f"{what}: {given} was given, then {found}"]
    return []


class TestOwnKey:
    """Made once per spool root, with no setting."""

    def test_it_is_made_once_told_once_and_found_by_every_later_process(self) -> None:
        first, second = House(), House()
        signer = first.signer()
        second.filesystem = first.filesystem
        assert second.signer().key_id == signer.key_id
        [said] = first.said
        assert OWN in said
        assert signer.key_id in said
        public_key = encode_base64(signer.public_key)
        assert f"kaizen-otel audit trust add {public_key} --name NAME" in said
        assert second.said == first.warned == second.warned == []
        assert House().signer().key_id != signer.key_id

    @pytest.mark.parametrize("setting", ["", "  "])
    def test_an_empty_setting_is_none(self, setting: str) -> None:
        house = House()
        assert house.signer(setting).key_id == house.signer().key_id

    def test_it_survives_a_power_loss(self) -> None:
        house = House()
        signer = house.signer()
        assert House(house.filesystem.lose_power()).signer().key_id == signer.key_id

    def test_what_is_in_the_file_is_never_replaced_even_if_it_is_no_key(self) -> None:
        """It may be mended; a new key in its place would be a change nobody asked for."""
        house = House()
        house.signer()
        house.filesystem._file(OWN).content[:] = b"damaged"
        with pytest.raises(ConfigError, match=OWN):
            house.signer()
        assert house.signer_or_none() is None
        assert house.filesystem.read(OWN, 0, 100) == b"damaged"

    def test_an_empty_file_is_no_key_yet(self) -> None:
        house = House()
        house.filesystem.make_directory("/state")
        house.filesystem.make_directory(ROOT)
        house.filesystem.close(house.filesystem.create(OWN))
        assert house.signer().key_id == house.signer().key_id

    def test_threads_that_race_get_the_same_one_and_one_tells_it(self) -> None:
        for _ in range(20):
            ids, said = race(MemoryFilesystem())
            assert len(set(ids)) == 1
            assert said == 1

    def test_without_the_lock_the_race_has_two_winners(self) -> None:
        assert len(set(race(NoLock())[0])) > 1

    def test_a_failing_or_stopping_machine_leaves_no_key_or_the_whole_one(self) -> None:
        assert problems_with(MemoryFilesystem) == []

    @pytest.mark.parametrize("saboteur", [NoSync, NoDirectorySync, Overwrites])
    def test_without_its_safeties_a_key_gets_lost(
        self, saboteur: Callable[[], MemoryFilesystem]
    ) -> None:
        assert problems_with(saboteur)

    @pytest.mark.parametrize("operation", ["make_directory", "create", "write", "sync", "rename"])
    def test_a_disk_that_refuses_leaves_records_unsigned_with_one_warning(
        self, operation: str
    ) -> None:
        fault = fail_operation(operation, Fault(error=errno.EROFS))
        house = House(MemoryFilesystem(fault=fault))
        assert house.signer_or_none() is None
        [warning] = house.warned
        assert "UNSIGNED" in warning
        assert OWN in warning
        assert "Read-only file system" in warning
        assert "KAIZEN_OTEL_SPOOL_DIR" in warning
        assert house.said == []


def race(disk: MemoryFilesystem) -> tuple[list[str], int]:
    """Four threads that ask for their signer at once: their ids, how many told of a new key."""
    houses = [House(disk) for _ in range(4)]
    ids: list[str] = []
    start = threading.Barrier(len(houses))

    def run(house: House) -> None:
        start.wait()
        try:
            ids.append(house.signer().key_id)
        except (OSError, ConfigError) as error:
            ids.append(str(error))

    threads = [threading.Thread(target=run, args=(house,)) for house in houses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return ids, sum(len(house.said) for house in houses)


class TestPublicKey:
    """What a verifier is given."""

    def test_it_is_read_in_every_form_in_which_it_is_printed(self) -> None:
        signer = Ed25519Signer.generate()
        key = signer._key.public_key()
        forms = [
            signer.public_pem().encode(),
            key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" me@here\n",
            encode_base64(signer.public_key).encode() + b"\n",
        ]
        assert [public_key_from(form, source="x") for form in forms] == [signer.public_key] * 3

    def test_a_private_key_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="which no verifier should have"):
            public_key_from(own_pem(), source="x")

    @pytest.mark.parametrize("data", [b"", b"abc", b"\xff\xfe", b"ssh-ed25519 AAAA", b"ssh-rsa A"])
    def test_what_is_none_is_refused(self, data: bytes) -> None:
        with pytest.raises(ConfigError, match="the given file is no Ed25519 public key"):
            public_key_from(data, source="the given file")

    def test_a_public_key_of_another_kind_is_refused(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(ConfigError, match="no Ed25519 public key"):
            public_key_from(pem, source="x")


PRIME = 2**255 - 19
CURVE_D = -121665 * pow(121666, -1, PRIME) % PRIME


def doubled(height: int) -> int:
    """The height of twice a point, from its height alone (Edwards' addition law)."""
    square = height * height % PRIME
    width_square = (square - 1) * pow(CURVE_D * square + 1, -1, PRIME) % PRIME
    product = CURVE_D * width_square * square % PRIME
    return (square + width_square) * pow(1 - product, -1, PRIME) % PRIME


class TestWeakKeys:
    """Under a key of small order anybody can sign anything, and OpenSSL agrees."""

    FORGED = (1).to_bytes(32, "little") + bytes(32)

    def test_openssl_takes_a_signature_that_nobody_made(self) -> None:
        """If it stops doing so the list may go."""
        key = ed25519.Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
        key.verify(self.FORGED, b"anything")

    def test_we_do_not(self) -> None:
        weak = [1, PRIME + 1, 1 | 1 << 255]
        for public_key in (number.to_bytes(32, "little") for number in weak):
            assert not is_usable(public_key)
            assert not verify_signature(public_key, self.FORGED, b"anything")

    def test_the_list_is_the_points_whose_order_divides_eight(self) -> None:
        from kaizen_otel.audit.signatures import _WEAK

        assert len(_WEAK) == 7
        for height in _WEAK:
            assert doubled(doubled(doubled(height % PRIME))) == 1, hex(height)
        signer = Ed25519Signer.generate()
        height = int.from_bytes(signer.public_key, "little") & ~(1 << 255)
        assert doubled(doubled(doubled(height))) != 1
        assert is_usable(signer.public_key)


SIZES = st.sampled_from([0, 31, 32, 33, 63, 64, 65])


@given(
    SIZES.flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    SIZES.flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    st.binary(max_size=20),
)
def test_verifying_anything_is_an_answer_and_no_error(
    public_key: bytes, signature: bytes, data: bytes
) -> None:
    assert not verify_signature(public_key, signature, data)


@given(st.binary(max_size=40))
def test_one_value_has_one_text_in_base64(data: bytes) -> None:
    text = encode_base64(data)
    assert decode_base64(text, len(data)) == data
    assert decode_base64(text, len(data) + 1) is None
    assert decode_base64(text + "\n", len(data)) is None
    assert decode_base64(" " + text, len(data)) is None


@given(st.text(max_size=12))
def test_decoding_any_text_is_an_answer_and_no_error(text: str) -> None:
    data = decode_base64(text, 4)
    assert data is None or encode_base64(data) == text


def test_a_key_store_elsewhere_is_a_signer_too() -> None:
    """The protocol is all that is asked for."""

    class KeyStore:
        key_id = "0" * 32
        public_key = bytes(32)

        def sign(self, data: bytes) -> bytes:
            raise ConnectionError("the key store is away")

    signer: Signer = KeyStore()
    assert signer.key_id


def test_a_file_is_read_through_the_filesystem_only() -> None:
    disk = with_file(own_pem())
    warned: list[str] = []
    assert signer_from_file(FILE, filesystem=disk, warn=warned.append).key_id
    assert warned == []
