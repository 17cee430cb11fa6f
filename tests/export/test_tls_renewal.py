"""Certificates and tokens that are renewed while an agent runs count without a restart."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography.hazmat.primitives import serialization

from kaizen_otel._export import Delivered, Retryable
from kaizen_otel.errors import ConfigError
from tests.export import test_grpc_transport as by_grpc
from tests.export.servers import RawServer, answer, answering, certificates, server_tls
from tests.export.test_http_transport import send, transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.mark.parametrize("to", [transport, by_grpc.transport])
def test_an_encrypted_key_is_refused_by_its_setting_and_nobody_is_asked(
    tmp_path: Path, to: Callable[..., object]
) -> None:
    own = client(tmp_path / "client", made(tmp_path / "old"))
    key = Path(own["client_key"])
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_CLIENT_KEY"):
        to(1, scheme="https", host="localhost", **own)


@contextmanager
def grpc_server(paths: dict[str, str], port: int = 0) -> Iterator[int]:
    """A server that wants a client certificate of its authority."""
    read = {name: Path(path).read_bytes() for name, path in paths.items()}
    credentials = grpc.ssl_server_credentials(
        [(read["server_key"], read["server"])],
        root_certificates=read["authority"],
        require_client_auth=True,
    )
    with by_grpc.serving(credentials=credentials, port=port) as (_, found):
        yield found


def test_by_grpc_a_new_authority_and_a_new_client_certificate_count_at_the_next_call(
    tmp_path: Path,
) -> None:
    old, new = made(tmp_path / "old"), made(tmp_path / "new")
    own = client(tmp_path / "client", old)
    with grpc_server(old) as port:
        to = by_grpc.transport(port, scheme="https", host="localhost", **own)
        assert by_grpc.send(to) == Delivered()
    with grpc_server(new, port):
        assert isinstance(by_grpc.send(to), Retryable)
        for option, name in FILES.items():
            put(new[name], own[option])
        assert by_grpc.send(to) == Delivered()
        channel = to._channel
        assert by_grpc.send(to) == Delivered()
        assert to._channel is channel, "what has not changed opens nothing"
    to.close()


def test_by_grpc_a_renewal_that_is_half_done_changes_nothing_until_it_is_whole(
    tmp_path: Path,
) -> None:
    old, new = made(tmp_path / "old"), made(tmp_path / "new")
    own = client(tmp_path / "client", old)
    with grpc_server(old) as port:
        to = by_grpc.transport(port, scheme="https", host="localhost", **own)
        put(new["authority"], own["certificate"])
        put(new["client"], own["client_certificate"])
        assert by_grpc.send(to) == Delivered()
    with grpc_server(new, port):
        put(new["client_key"], own["client_key"])
        assert by_grpc.send(to) == Delivered()
    to.close()
