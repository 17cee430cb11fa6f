"""All attacks: whoever imports ``ATTACKS`` from here has them registered."""

from __future__ import annotations

from tests.trail import mutations, mutations_added, mutations_of_streams, mutations_of_text
from tests.trail.attack import ATTACKS

__all__ = ["ATTACKS", "MODULES"]

MODULES = (mutations, mutations_added, mutations_of_streams, mutations_of_text)
