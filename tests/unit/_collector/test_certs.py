"""Certificates: what a client and a server of the standard library make of them."""

from __future__ import annotations

import json
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from kaizen_otel._cli.certs import certs
from kaizen_otel._collector.certs import Authority, describe, moment_of, names_in
from kaizen_otel._collector.certs_check import check_certificate
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel.errors import ConfigError
from kaizen_otel.testing.fakes import FixedClock

if TYPE_CHECKING:
    from pathlib import Path

MONTH = timedelta(days=30)
DAY_MS = 86_400 * 1000


@pytest.fixture
def clock() -> FixedClock:
    """Whose time is not long ago, so that the standard library believes what is made by it."""
    return FixedClock(time_ns=SystemClock().time_ns())


def make(folder: Path, clock: FixedClock, **more: int) -> Authority:
    return Authority.make(folder, filesystem=OsFilesystem(), clock=clock, **more)


def shake_hands(
    server: tuple[Path, str], trusted: Path, *, host: str, client: tuple[Path, str] | None = None
) -> str:
    """Let a client and a server of ``ssl`` meet in memory; returns the version that they speak."""
    folder, name = server
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    calling = ssl.create_default_context(cafile=trusted)
    if client is not None:
        serving.verify_mode = ssl.CERT_REQUIRED
        serving.load_verify_locations(trusted)
        calling.load_cert_chain(client[0] / f"{client[1]}.crt", client[0] / f"{client[1]}.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        calling.wrap_bio(to_client, to_server, server_hostname=host),
        serving.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not waiting, "both are done after a few turns"
    ends[0].write(b"hello")
    assert ends[1].read() == b"hello"
    return str(ends[0].version())


def test_a_client_believes_the_server_under_each_of_its_hosts(
    tmp_path: Path, clock: FixedClock
) -> None:
    authority = make(tmp_path, clock)
    authority.issue("server", "server", hosts=("collector.local", "127.0.0.1", "::1"))
    for host in ("collector.local", "127.0.0.1", "::1"):
        assert shake_hands((tmp_path, "server"), tmp_path / "ca.crt", host=host) == "TLSv1.3"


def test_a_client_refuses_another_host_and_another_authority(
    tmp_path: Path, clock: FixedClock
) -> None:
    make(tmp_path / "ours", clock).issue("server", "server", hosts=("collector.local",))
    make(tmp_path / "theirs", clock)
    server = (tmp_path / "ours", "server")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server, tmp_path / "ours/ca.crt", host="other.local")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, tmp_path / "theirs/ca.crt", host="collector.local")


def test_a_server_takes_clients_of_its_authority_only(tmp_path: Path, clock: FixedClock) -> None:
    ours, theirs = make(tmp_path / "ours", clock), make(tmp_path / "theirs", clock)
    ours.issue("server", "server", hosts=("localhost",))
    ours.issue("agent", "client")
    theirs.issue("agent", "client")
    server, trusted = (tmp_path / "ours", "server"), tmp_path / "ours/ca.crt"
    shake_hands(server, trusted, host="localhost", client=(tmp_path / "ours", "agent"))
    with pytest.raises(ssl.SSLError):
        shake_hands(server, trusted, host="localhost", client=(tmp_path / "theirs", "agent"))


def test_a_client_certificate_does_not_serve_and_a_server_one_is_no_client(
    tmp_path: Path, clock: FixedClock
) -> None:
    """A stolen agent certificate must not let somebody play the Collector (RFC 5280, 4.2.1.12)."""
    authority = make(tmp_path, clock)
    authority.issue("server", "server", hosts=("localhost",))
    authority.issue("agent", "client")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands((tmp_path, "agent"), tmp_path / "ca.crt", host="agent")
    with pytest.raises(ssl.SSLError):
        shake_hands(
            (tmp_path, "server"), tmp_path / "ca.crt", host="localhost",
            client=(tmp_path, "server"),
        )  # fmt: skip


def test_renewed_certificates_are_believed_by_who_trusted_the_old_authority(
    tmp_path: Path, clock: FixedClock
) -> None:
    authority = make(tmp_path, clock)
    old = authority.issue("server", "server", hosts=("localhost", "::1"))
    trusted = tmp_path / "pinned.pem"
    trusted.write_bytes((tmp_path / "ca.crt").read_bytes())
    old_key = old.key.read_bytes()
    clock.advance(60_000)  # less than certificates are dated back
    authority.renew_itself()
    new = authority.renew("server")
    assert new.hosts == old.hosts
    assert new.not_after > old.not_after
    assert new.key.read_bytes() != old_key
    shake_hands((tmp_path, "server"), trusted, host="localhost")
    shake_hands((tmp_path, "server"), tmp_path / "ca.crt", host="localhost")


def test_keys_are_readable_by_their_owner_only_and_nothing_is_replaced(
    tmp_path: Path, clock: FixedClock
) -> None:
    authority = make(tmp_path / "certs", clock)
    made = authority.issue("agent", "client")
    assert [made.key.stat().st_mode & 0o777, made.certificate.stat().st_mode & 0o777] == [
        0o600,
        0o644,
    ]
    assert (tmp_path / "certs").stat().st_mode & 0o777 == 0o700
    before = {path: path.read_bytes() for path in (tmp_path / "certs").iterdir()}
    with pytest.raises(ConfigError, match="NOT changed"):
        authority.issue("agent", "client")
    with pytest.raises(ConfigError, match="NOT changed"):
        make(tmp_path / "certs", clock)
    assert {path: path.read_bytes() for path in (tmp_path / "certs").iterdir()} == before


def test_no_certificate_outlives_its_authority(tmp_path: Path, clock: FixedClock) -> None:
    authority = make(tmp_path, clock, days=10)
    issued = authority.issue("agent", "client", days=90)
    assert issued.not_after == describe(tmp_path, "ca").not_after


@pytest.mark.parametrize("name", ["", "ca", "../up", "a/b", ".hidden", "x" * 65, "ä"])
def test_a_name_that_is_no_file_name_is_refused(
    tmp_path: Path, clock: FixedClock, name: str
) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        make(tmp_path, clock).issue(name, "client")


@pytest.mark.parametrize("host", ["", "a b", "http://x", "x:4318", "a..b", "a/b"])
def test_what_is_no_host_is_refused(tmp_path: Path, clock: FixedClock, host: str) -> None:
    with pytest.raises(ConfigError, match="no host name"):
        make(tmp_path, clock).issue("server", "server", hosts=(host,))


def kinds(path: Path, clock: FixedClock, *, authority: Path | None = None) -> set[str]:
    report = check_certificate(path, authority=authority, within=MONTH, now=moment_of(clock))
    return {finding.kind for finding in report.findings}


def test_check_finds_each_fault_and_nothing_else(tmp_path: Path, clock: FixedClock) -> None:
    ours, theirs = make(tmp_path / "ours", clock), make(tmp_path / "theirs", clock)
    good = ours.issue("server", "server", hosts=("localhost",), days=60).certificate
    trusted = tmp_path / "ours/ca.crt"
    assert kinds(good, clock, authority=trusted) == set()
    assert kinds(trusted, clock, authority=trusted) == set()
    assert kinds(good, clock, authority=tmp_path / "theirs/ca.crt") == {"not_signed"}

    key = ours.issue("open", "client").key
    key.chmod(0o640)
    assert kinds(tmp_path / "ours/open.crt", clock) == {"open_to_others"}
    key.chmod(0o600)
    key.write_bytes(theirs.issue("other", "client").key.read_bytes())
    assert kinds(tmp_path / "ours/open.crt", clock) == {"other_key"}
    key.write_text("no key at all")
    assert kinds(tmp_path / "ours/open.crt", clock) == {"unreadable"}

    clock.advance(31 * DAY_MS)
    assert kinds(good, clock) == {"expires_soon"}
    clock.advance(30 * DAY_MS)
    assert kinds(good, clock) == {"expired"}
    clock.advance(-70 * DAY_MS)
    assert kinds(good, clock) == {"not_yet_valid"}


def test_what_is_no_certificate_is_a_clear_error(tmp_path: Path, clock: FixedClock) -> None:
    text = tmp_path / "text.crt"
    text.write_text("hello")
    for path in (text, tmp_path / "missing.crt", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            kinds(path, clock)


def test_the_command_makes_checks_renews(tmp_path: Path) -> None:
    runner, folder = CliRunner(), str(tmp_path / "certs")
    made = runner.invoke(certs, ["new", folder, "--client", "agent", "--json"])
    assert made.exit_code == 0, made.output
    assert [each["name"] for each in json.loads(made.stdout)["made"]] == ["ca", "server", "agent"]
    added = runner.invoke(certs, ["add", folder, "store", "--host", "store.local", "--days", "20"])
    assert "server    store for store.local" in added.stdout

    checked = runner.invoke(certs, ["check", folder, "--json"], standalone_mode=False)
    found = json.loads(checked.stdout)["certificates"]
    assert {each["path"].rsplit("/")[-1]: len(each["findings"]) for each in found} == {
        "agent.crt": 0, "ca.crt": 0, "server.crt": 0, "store.crt": 1,
    }  # fmt: skip
    assert checked.return_value == 1

    renewed = runner.invoke(certs, ["renew", folder, "--json"])
    assert [each["name"] for each in json.loads(renewed.stdout)["made"]] == ["store"]
    assert runner.invoke(certs, ["check", folder], standalone_mode=False).return_value == 0
    assert names_in(tmp_path / "certs") == ["ca", "agent", "server", "store"]


def test_an_authority_with_another_key_signs_nothing(tmp_path: Path, clock: FixedClock) -> None:
    make(tmp_path / "ours", clock)
    make(tmp_path / "theirs", clock)
    (tmp_path / "ours/ca.key").write_bytes((tmp_path / "theirs/ca.key").read_bytes())
    with pytest.raises(ConfigError, match="is not the key of"):
        Authority.load(tmp_path / "ours", filesystem=OsFilesystem(), clock=clock)


@pytest.mark.parametrize(
    "wish",
    [
        ("--days", "0"),
        ("--ca-days", "99999"),
        ("--host", "http://collector:4318"),
        ("--client", "ca"),
        ("--client", "server"),
        ("--client", "agents", "--client", "agents"),
    ],
    ids=" ".join,
)
def test_of_a_wish_that_cannot_be_met_nothing_is_made(
    wish: tuple[str, ...], tmp_path: Path
) -> None:
    """Half of a folder would refuse the corrected command."""
    folder = tmp_path / "certs"
    done = CliRunner().invoke(certs, ["new", str(folder), *wish])
    assert isinstance(done.exception, ConfigError)
    assert wish[-1] in str(done.exception)
    assert not folder.exists()


def test_where_no_authority_is_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(certs, ["add", str(tmp_path), "agents"])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).endswith("has no ca.crt: make one with `kaizen-otel certs new`")
