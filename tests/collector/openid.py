"""An OpenID provider in memory: discovery, keys, and tokens for client credentials."""

from __future__ import annotations

import base64
import http.server
import json
import time
import urllib.parse
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.collector.background import BackgroundServer

KEY_ID = "test"
CLIENT_ID = "agent-collector"
LIFETIME_S = 600


class OpenIdProvider(BackgroundServer):
    """Signs what it is asked for; ``secret`` is the one client's."""

    daemon_threads = True

    def __init__(self, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secret = secret
        self.key = new_key()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def token(self, audience: str, **changes: object) -> str:
        """A token that the Collector takes, unless ``changes`` to its claims make it another."""
        return sign(self.claims(audience, **changes), self.key)

    def claims(self, audience: str, **changes: object) -> dict[str, Any]:
        now = int(time.time())
        return {
            "iss": self.issuer,
            "sub": CLIENT_ID,
            "aud": audience,
            "iat": now,
            "exp": now + LIFETIME_S,
            **changes,
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    server: OpenIdProvider

    def do_GET(self) -> None:
        issuer = self.server.issuer
        if self.path == "/.well-known/openid-configuration":
            self._answer(
                {
                    "issuer": issuer,
                    "authorization_endpoint": f"{issuer}/auth",
                    "token_endpoint": f"{issuer}/token",
                    "jwks_uri": f"{issuer}/keys",
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )
        elif self.path == "/keys":
            self._answer({"keys": [public_key(self.server.key)]})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = dict(urllib.parse.parse_qsl(body))
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, secret = base64.b64decode(encoded).decode().partition(":")
        else:
            name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if (name, secret) != (CLIENT_ID, self.server.secret):
            self.send_error(401)
            return
        token = self.server.token(form["audience"])
        self._answer({"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME_S})

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def sign(claims: dict[str, Any], key: rsa.RSAPrivateKey | None) -> str:
    """A JSON web token by RS256 (RFC 7519), or an unsigned one."""
    header = {"alg": "RS256", "kid": KEY_ID, "typ": "JWT"} if key else {"alg": "none"}
    text = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
    signature = b"" if key is None else key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{_encoded(signature)}"


def public_key(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """The key as RFC 7517 has it."""
    numbers = key.public_key().public_numbers()
    parts = {
        name: _encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        for name, number in (("n", numbers.n), ("e", numbers.e))
    }
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, **parts}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
