"""Real Collector binaries, obtained as a user's would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import config_path
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.collector.identity.kit import Identity
    from tests.collector.openid import OpenIdProvider


def _binary(config: str) -> Path:
    try:
        return obtain([config_path(config)], progress=print, own=True).path
    except SetupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def dev_binary() -> Path:
    """Our own dev distribution, or another Collector that fits its config."""
    return _binary("dev")


@pytest.fixture(scope="session")
def gateway_binary() -> Path:
    """A Collector with our own elasticsearch exporter."""
    return _binary("gateway")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a secured Collector, its clients and strangers show each other."""
    from tests.collector.attacks.certificates import issue

    folder = tmp_path_factory.mktemp("tls")
    issue(folder)
    return folder


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    """A provider of tokens that knows the secret of the attacked Collectors' clients."""
    from tests.collector.attacks.target import CLIENT_SECRET
    from tests.collector.openid import OpenIdProvider

    with OpenIdProvider(CLIENT_SECRET) as running:
        yield running


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    """An LDAP server and an OpenID provider whose people are those of the server."""
    from tests.collector.identity import kit, programs

    try:
        found = programs.obtain()
    except SetupError as error:
        pytest.skip(str(error))
    with kit.identity(found, tmp_path_factory.mktemp("identity")) as started:
        yield started
