"""Where the tools keep things, by the XDG Base Directory Specification."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaizen_otel._collector.resources import (
    cache_directory,
    config_path,
    inherited_environment,
    run_environment,
    state_directory,
)
from kaizen_otel.errors import ConfigError

HOME = {"HOME": "/home/me"}


def test_folders_are_below_home_unless_xdg_says_otherwise() -> None:
    assert cache_directory(HOME) == Path("/home/me/.cache/kaizen-otel")
    assert state_directory(HOME) == Path("/home/me/.local/state/kaizen-otel")
    xdg = {**HOME, "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}
    assert cache_directory(xdg) == Path("/c/kaizen-otel")
    assert state_directory(xdg) == Path("/s/kaizen-otel")


@pytest.mark.parametrize("unusable", ["", "relative/path"])
def test_a_relative_xdg_path_is_ignored(unusable: str) -> None:
    """The specification demands it."""
    assert cache_directory({**HOME, "XDG_CACHE_HOME": unusable}) == cache_directory(HOME)


def test_folders_that_the_user_named_are_kept() -> None:
    given = {**HOME, "KAIZEN_OTEL_AUDIT_DIR": "/mine", "KAIZEN_OTEL_QUEUE_DIR": ""}
    folders = run_environment(given)
    assert folders["KAIZEN_OTEL_AUDIT_DIR"] == "/mine"
    assert folders["KAIZEN_OTEL_QUEUE_DIR"] == "/home/me/.local/state/kaizen-otel/collector/queue"
    assert folders["KAIZEN_OTEL_DATA_DIR"] == "/home/me/.local/state/kaizen-otel/dev"


def test_a_config_that_does_not_exist_is_named_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"'nowhere.yaml'.*dev, gateway"):
        config_path("nowhere.yaml")


def test_programs_that_we_start_see_neither_the_agents_settings_nor_its_keys() -> None:
    given = {
        "PATH": "/bin",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere",
        "KAIZEN_OTEL_SIGNING_KEY": "-----BEGIN PRIVATE KEY-----",
        "KAIZEN_OTEL_SUBJECT_MASTER_KEY": "c2VjcmV0",
        "KAIZEN_OTEL_AUDIT_DIR": "/var/audit",
    }
    assert inherited_environment(given) == {"PATH": "/bin", "KAIZEN_OTEL_AUDIT_DIR": "/var/audit"}
