"""Certificates that are renewed while an agent runs count at its next connection."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kaizen_otel._export import Delivered, Retryable
from tests.export.servers import RawServer, answer, answering, certificates, server_tls
from tests.export.test_http_transport import send, transport

FILES = {"certificate": "authority", "client_certificate": "client", "client_key": "client_key"}


def made(folder: Path) -> dict[str, str]:
    """An authority of its own, with a server's and a client's certificate."""
    folder.mkdir()
    return certificates(folder)


def client(folder: Path, paths: dict[str, str]) -> dict[str, str]:
    """The client's own copies of what it needs."""
    folder.mkdir()
    return {
        option: shutil.copy(paths[name], str(folder / Path(paths[name]).name))
        for option, name in FILES.items()
    }


def put(source: str, target: str) -> None:
    """Replace a file as a renewal does: by another one of the same name."""
    copy = f"{target}.new"
    shutil.copy(source, copy)
    Path(copy).replace(target)


def test_a_new_authority_and_a_new_client_certificate_count_at_the_next_connection(
    tmp_path: Path,
) -> None:
    old, new = made(tmp_path / "old"), made(tmp_path / "new")
    own = client(tmp_path / "client", old)
    with RawServer(answering(answer()), tls=server_tls(old, wants_client=True)) as server:
        to = transport(server.port, scheme="https", host="localhost", **own)
        assert send(to) == Delivered()
        server._tls = server_tls(new, wants_client=True)
        refused = send(to)
        assert isinstance(refused, Retryable)
        assert refused.reason == "tls"
        for option, name in FILES.items():
            put(new[name], own[option])
        outcome = send(to)
        assert isinstance(outcome, Delivered)


@pytest.mark.parametrize("broken", ["the old key", "half of the key", "no key"])
def test_a_renewal_that_is_half_done_changes_nothing_until_it_is_whole(
    tmp_path: Path, broken: str
) -> None:
    old, new = made(tmp_path / "old"), made(tmp_path / "new")
    own = client(tmp_path / "client", old)
    with RawServer(answering(answer()), tls=server_tls(old, wants_client=True)) as server:
        to = transport(server.port, scheme="https", host="localhost", **own)
        assert send(to) == Delivered()
        put(new["authority"], own["certificate"])
        put(new["client"], own["client_certificate"])
        if broken == "half of the key":
            Path(own["client_key"]).write_bytes(Path(new["client_key"]).read_bytes()[:50])
        elif broken == "no key":
            Path(own["client_key"]).unlink()
        assert isinstance(send(to), Delivered)
        server._tls = server_tls(new, wants_client=True)
        put(new["client_key"], own["client_key"])
        assert isinstance(send(to), Delivered)
