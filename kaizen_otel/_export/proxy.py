"""HTTP proxies by the usual variables: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY``.

A request for ``http://`` goes to the proxy with its whole URL, one for ``https://`` through a
tunnel (RFC 9110, section 9.3.6, "CONNECT").  As in Go, and so in the Collector, this machine itself
is never reached through a proxy.  ``grpcio`` reads the same variables by itself.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from kaizen_otel._export.stream import DeadlineStream

_HEAD_BYTES_MAX: Final = 8 * 1024
_PORT: Final = 80


class ProxyError(OSError):
    """The proxy cannot be reached, or refuses; the text says which setting to change."""


class Proxy:
    """Where requests go first.  ``authorization`` is the header's value, a secret, or empty."""

    __slots__ = ("authorization", "host", "port", "setting")

    def __init__(self, *, host: str, port: int, setting: str, authorization: str = "") -> None:
        """Take what the environment said."""
        self.host = host
        self.port = port
        self.setting = setting
        self.authorization = authorization

    @property
    def place(self) -> str:
        """The proxy for messages, without credentials."""
        return f"the proxy {self.host}:{self.port} ({self.setting})"


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """Return the proxy that the environment names for a host; None for none.

    Raises ``ConfigError`` for one that cannot be used.
    """
    if not any(name.lower().endswith("_proxy") for name in os.environ) or _is_this_machine(host):
        return None
    # Loaded where there is a proxy only; it also knows why HTTP_PROXY is no setting under CGI.
    from urllib.request import getproxies_environment, proxy_bypass

    proxies = getproxies_environment()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or proxy_bypass(host):
        return None
    setting = f"{scheme.upper()}_PROXY" if scheme in proxies else "ALL_PROXY"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        proxy_host, port = parts.hostname, parts.port or _PORT
    except ValueError as error:
        raise ConfigError(f"{setting} is not a URL ({error}): correct or unset it") from error
    if parts.scheme != "http" or not proxy_host:
        raise ConfigError(
            f"{setting} names a proxy by {parts.scheme}://, telemetry can use http:// ones only: "
            f"correct it, or add {host} to NO_PROXY"
        )
    authorization = ""
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
    return Proxy(host=proxy_host, port=port, setting=setting, authorization=authorization)


def open_tunnel(stream: DeadlineStream, proxy: Proxy, authority: str) -> None:
    """Ask the proxy for a connection to ``authority`` (host and port); raises ``OSError``.

    Reads not a byte more than the proxy's answer: what follows is the server's.
    """
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", "User-Agent: kaizen-otel"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    stream.sendall("\r\n".join([*lines, "", ""]).encode())
    head = bytearray()
    byte = bytearray(1)
    while not head.endswith(b"\r\n\r\n"):
        if stream.receive_into(byte) == 0 or len(head) >= _HEAD_BYTES_MAX:
            raise ProxyError(f"{proxy.place} gave no answer in HTTP: correct {proxy.setting}")
        head += byte
    status = bytes(head).partition(b"\r\n")[0].split(b" ", 2)
    code = status[1].decode(errors="replace") if len(status) > 1 else ""
    if code == "407":
        raise ProxyError(
            f"{proxy.place} wants other credentials (407): set {proxy.setting} to "
            "http://name:password@host:port"
        )
    if not (code.isdigit() and code.startswith("2")):
        raise ProxyError(
            f"{proxy.place} refuses a connection to {authority} (status {code or 'unknown'}): "
            "allow it there, or add the host to NO_PROXY"
        )


def _is_this_machine(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
