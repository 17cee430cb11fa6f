"""Credentials in files: what is read, what is said of what cannot be, and when it is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaizen_otel._export import Delivered, Outcome, Rejected, Retryable
from kaizen_otel._export.credentials import (
    TOKEN_BYTES_MAX,
    BearerToken,
    credentials_advice,
    read_token,
    setting_of,
)
from kaizen_otel.config import Config, EndpointConfig
from kaizen_otel.errors import ConfigError

SETTING = "KAIZEN_OTEL_AUDIT_TOKEN_FILE"
SECRET = "tok-s3cret"
REFUSED = Rejected(reason="unauthenticated", message="401")
FORBIDDEN = Rejected(reason="forbidden", message="403")


def put(path: Path, text: str) -> None:
    """Replace a file at once."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def token(path: Path) -> BearerToken:
    return BearerToken(
        EndpointConfig(signal="logs", token_file=str(path), settings={"token_file": SETTING})
    )


@pytest.mark.parametrize("text", [SECRET, f"{SECRET}\n", f" {SECRET}\r\n\n"])
def test_white_space_around_a_token_does_not_count(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    assert read_token(str(tmp_path / "token"), SETTING) == SECRET


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (f"{SECRET}\n{SECRET}2".encode(), "more than one line"),
        (f"{SECRET}\r{SECRET}2".encode(), "more than one line"),
        (f"Bearer {SECRET}".encode(), "without the word Bearer"),
        (f"{SECRET}\x00".encode(), "a character in it"),
        (f"{SECRET}\x7fx".encode(), "a character in it"),
        (f"{SECRET}é".encode(), "a character in it"),
        (f"{SECRET}\xff".encode("latin-1"), "a character in it"),
        (SECRET.encode() * TOKEN_BYTES_MAX, "larger than"),
    ],
)
def test_a_file_without_a_usable_token_is_named_by_its_setting_and_nothing_of_it_is_said(
    tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "token").write_bytes(data)
    with pytest.raises(ConfigError, match=words) as caught:
        read_token(str(tmp_path / "token"), SETTING)
    assert SETTING in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "No such file"),
        ("folder", "no ordinary file"),
        ("pipe", "no ordinary file"),
        (SECRET, "No such file"),
        (f"{SECRET}\0", "not a path"),
        (SECRET * 1000, "File name too long"),
    ],
)
def test_a_path_that_leads_to_no_file_is_not_repeated_because_it_may_be_the_token_itself(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=words) as caught:
        read_token(f"{tmp_path}/{name}", SETTING)
    text = f"{caught.value} {caught.value.__cause__}"
    assert SETTING in text
    assert SECRET not in text


@pytest.mark.skipif(os.geteuid() == 0, reason="platform: root may read every file")
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "token").chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        read_token(str(tmp_path / "token"), SETTING)


def test_without_a_file_nothing_is_sent_and_a_refusal_stays_one() -> None:
    nothing = BearerToken(EndpointConfig(signal="logs"))
    assert nothing.header == ()
    assert nothing.send(lambda: REFUSED) is REFUSED


def swap(folder: Path, text: str) -> None:
    """What Kubernetes does with a mounted Secret: a new folder, and a link that leads to it."""
    version = folder / f"..{len(list(folder.iterdir()))}"
    version.mkdir()
    (version / "token").write_text(text)
    link = folder / "..new"
    link.symlink_to(version.name)
    link.replace(folder / "..data")


@pytest.mark.parametrize("way", ["replaced", "rewritten", "link"])
def test_a_file_that_has_changed_is_read_before_the_next_attempt(tmp_path: Path, way: str) -> None:
    path = tmp_path / "token"
    if way == "link":
        swap(tmp_path, "first")
        path.symlink_to("..data/token")
    else:
        path.write_text("first")
    found = token(path)
    sent: list[object] = []

    def attempt() -> Outcome:
        sent.append(found.header)
        return Delivered()

    found.send(attempt)
    if way == "link":
        swap(tmp_path, "second")
    elif way == "replaced":
        put(path, "second")
    else:
        path.write_text("second")
    found.send(attempt)
    assert sent == [(("authorization", f"Bearer {text}"),) for text in ("first", "second")]


@pytest.mark.parametrize("left", ["", None, "two\nlines"])
def test_while_a_file_is_being_rewritten_the_last_token_holds(
    tmp_path: Path, left: str | None
) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    found = token(path)
    if left is None:
        path.unlink()
    else:
        path.write_text(left)
    assert isinstance(found.send(Delivered), Delivered)
    assert found.header == (("authorization", "Bearer first"),)
    refused = found.send(lambda: REFUSED)
    assert isinstance(refused, Retryable)
    assert SETTING in refused.message, "it says what is wrong with the file"
    path.write_text("second")
    found.send(Delivered)
    assert found.header == (("authorization", "Bearer second"),)


@pytest.mark.parametrize("refusal", [REFUSED, FORBIDDEN])
def test_a_token_that_is_exchanged_while_it_is_refused_is_tried_at_once(
    tmp_path: Path, refusal: Rejected
) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    found = token(path)

    def attempt() -> Outcome:
        if "second" in str(found.header):
            return Delivered()
        put(path, "second")
        return refusal

    assert found.send(attempt) == Delivered()


def test_a_token_that_stays_the_same_is_refused_once_for_each_attempt(tmp_path: Path) -> None:
    """401 may be over when the other side has the token, too; 403 knows us and says no."""
    (tmp_path / "token").write_text("first")
    found = token(tmp_path / "token")
    attempts: list[Outcome] = []
    for refusal in (REFUSED, FORBIDDEN):

        def attempt(refusal: Rejected = refusal) -> Outcome:
            attempts.append(refusal)
            return refusal

        outcome = found.send(attempt)
        assert outcome.message == refusal.message
        assert isinstance(outcome, Retryable) == (refusal is REFUSED)
    assert attempts == [REFUSED, FORBIDDEN]


def test_what_is_to_be_corrected_is_what_is_set() -> None:
    def asked(**variables: str) -> str:
        return credentials_advice(Config.from_environment(variables).endpoints["traces"])

    assert asked() == "set KAIZEN_OTEL_TOKEN_FILE or OTEL_EXPORTER_OTLP_HEADERS"
    own = asked(KAIZEN_OTEL_TRACES_TOKEN_FILE="/t")
    assert own == "correct the file of KAIZEN_OTEL_TRACES_TOKEN_FILE"
    assert (
        asked(OTEL_EXPORTER_OTLP_TRACES_HEADERS="a=b", OTEL_EXPORTER_OTLP_HEADERS="c=d")
        == "correct OTEL_EXPORTER_OTLP_TRACES_HEADERS"
    )
    audit = Config.from_environment({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca"}).audit.endpoint
    advice = "set KAIZEN_OTEL_AUDIT_TOKEN_FILE or KAIZEN_OTEL_AUDIT_HEADERS"
    assert credentials_advice(audit) == advice
    assert setting_of(audit, "certificate") == "OTEL_EXPORTER_OTLP_CERTIFICATE"
