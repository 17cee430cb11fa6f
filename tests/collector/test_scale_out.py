"""Several gateways behind one address: connections spread over those that were added."""

from __future__ import annotations

import itertools
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from kaizen_otel._collector.resources import config_path
from tests.collector.otlp_json import Sender, logs
from tests.collector.processes import collector
from tests.collector.store import Store, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUESTS_MAX = 150


class Service:
    """What a Kubernetes Service does: the next connection goes to the next gateway."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.gateways = list(ports)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._turn = itertools.count()
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A blocked accept() ends with the shutdown; a close alone would leave it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            port = self.gateways[next(self._turn) % len(self.gateways)]
            gateway = socket.create_connection(("127.0.0.1", port))
            self._open += [client, gateway]
            for source, target in ((client, gateway), (gateway, client)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_the_gateway_ends_connections_so_that_they_spread() -> None:
    config: dict[str, Any] = yaml.safe_load(config_path("gateway").read_text(encoding="utf-8"))
    parameters = config["receivers"]["otlp"]["protocols"]["grpc"]["keepalive"]["server_parameters"]
    assert set(parameters) == {"max_connection_age", "max_connection_age_grace"}


def gateways_that_got_something(binary: Path, folder: Path, age: str) -> int:
    """An agent Collector sends to one gateway; a second one is added to the Service."""
    young = folder / "young.yaml"
    grpc = {"keepalive": {"server_parameters": {"max_connection_age": age}}}
    young.write_text(yaml.safe_dump({"receivers": {"otlp": {"protocols": {"grpc": grpc}}}}))
    with Store() as first, Store() as second:
        stores = (first, second)
        gateways = [
            collector(binary, folder / str(n), ["gateway", young], ELASTICSEARCH_ENDPOINT=store.url)
            for n, store in enumerate(stores)
        ]
        with gateways[0], gateways[1], Service([gateways[0].grpc_port]) as service:
            agent = collector(
                binary,
                folder / "agent",
                ["agent"],
                KAIZEN_OTEL_GATEWAY_ENDPOINT=f"127.0.0.1:{service.port}",
                KAIZEN_OTEL_GATEWAY_INSECURE="true",
            )
            with agent:
                sent: list[str] = []

                def send() -> bool:
                    sent.append(f"record {len(sent)}")
                    return Sender(agent.http_port).post("logs", logs(sent[-1]))

                assert send()
                assert wait_until(lambda: bool(first.documents))
                service.gateways.append(gateways[1].grpc_port)
                for _ in range(REQUESTS_MAX):
                    assert send()
                    if second.documents:
                        break
                assert wait_until(lambda: {*first.texts(), *second.texts()} >= set(sent)), (
                    "a connection that ends loses nothing"
                )
        return sum(bool(store.documents) for store in stores)


def test_a_gateway_that_is_added_gets_its_share(gateway_binary: Path, tmp_path: Path) -> None:
    assert gateways_that_got_something(gateway_binary, tmp_path, "200ms") == 2


def test_without_an_age_a_connection_stays_where_it_is(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """The saboteur: gRPC keeps one connection for ever."""
    assert gateways_that_got_something(gateway_binary, tmp_path, "0s") == 1
