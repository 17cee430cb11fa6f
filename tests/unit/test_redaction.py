from __future__ import annotations

import pytest

from kaizen_otel._redaction import Redactor

SECRETS = [
    ("Authorization: Bearer abcdefghij.klmnop", "abcdefghij"),
    ("sent with bearer abcdefgh12345678 in it", "abcdefgh12345678"),
    ("password=hunter2 and more", "hunter2"),
    ('{"api_key": "very-private"}', "very-private"),
    ("OPENAI_API_KEY=sk-abcdefghijklmnopqrstuvwx", "sk-abc"),
    ("key sk-abcdefghijklmnopqrstuvwx was refused", "sk-abc"),
    ("postgres://user:p4ss@host/db", "p4ss"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
    ("-----BEGIN PRIVATE KEY-----\ncut off here MIIE", "MIIE"),
    ("ghp_" + "a1B2" * 9, "a1B2"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_does_not_survive(text: str, secret: str) -> None:
    assert secret not in Redactor().redact(text)


@pytest.mark.parametrize(
    "text", ["hello", "12 tokens used", "a basic question", "mail me @ home", "the secret garden"]
)
def test_plain_text_is_left_alone(text: str) -> None:
    assert Redactor().redact(text) == text


def test_the_value_of_a_key_that_names_a_secret_goes_whole() -> None:
    redactor = Redactor()
    redacted = redactor.redact_attributes({"db.password": "x", "tool": "search", "n": 3})
    assert redacted == {"db.password": "[REDACTED:key]", "tool": "search", "n": 3}
    assert redactor.counts == {"key": 1}


def test_every_replacement_is_counted_by_its_rule() -> None:
    redactor = Redactor()
    redactor.redact("password=a token=b")
    redactor.redact("bearer abcdefgh12345678")
    assert redactor.counts == {"assignment": 2, "bearer": 1}
