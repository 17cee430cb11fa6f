"""What is missing for an integration is said before anything is touched."""

from __future__ import annotations

import importlib.metadata

import pytest

from kaizen_otel.errors import NotEnabledError
from kaizen_otel.integrations import MINIMUM_VERSIONS, Requirement, check, require, version_numbers


def _requirement(**changes: object) -> Requirement:
    base = Requirement(
        distribution="pytest", minimum_version=(1,), extra="testing", modules=("pytest",)
    )
    return base._replace(**changes)  # type: ignore[arg-type]


def test_what_is_installed_and_new_enough_passes() -> None:
    check(_requirement())
    require("kaizen")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"distribution": "no-such-thing"}, r"no-such-thing is not installed.*\[testing\]"),
        ({"minimum_version": (9999, 1)}, r"pytest \d.*is older than 9999\.1.*--upgrade"),
        ({"modules": ("pytest", "absent_package.inner")}, r"without absent_package\.inner"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(changes: dict[str, object], text: str) -> None:
    with pytest.raises(NotEnabledError, match=text) as caught:
        check(_requirement(**changes))
    assert "pip install 'kaizen-otel[testing]'" in str(caught.value)
    assert "nothing is observed" in str(caught.value)


def test_the_version_is_the_one_that_the_installer_wrote_for_every_distribution_here() -> None:
    seen = 0
    for found in importlib.metadata.distributions():
        name, version = found.metadata["Name"], importlib.metadata.version(found.metadata["Name"])
        with pytest.raises(NotEnabledError) as caught:
            check(_requirement(distribution=name, minimum_version=(10**12,)))
        assert str(caught.value).startswith(f"{name} {version} is older than ")
        seen += 1
    assert seen > 10


def test_versions_are_compared_by_number() -> None:
    assert version_numbers("2.46.1") == (2, 46, 1)
    assert version_numbers("2.100") > version_numbers("2.46.1rc1")
    assert version_numbers("unknown") == ()
    assert MINIMUM_VERSIONS["kaizen"].minimum_version == (2, 46)
