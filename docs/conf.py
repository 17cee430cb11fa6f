"""Settings of the documentation: Sphinx, MyST, furo; nitpicky, warnings are errors."""

from __future__ import annotations

from importlib.metadata import version as _version

project = "kaizen-otel"
author = "kaizen-otel maintainers"
copyright = "kaizen-otel maintainers"  # noqa: A001 - Sphinx's name for it
release = _version("kaizen-otel")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

nitpicky = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"kaizen-otel {release}"
exclude_patterns = ["_build"]
