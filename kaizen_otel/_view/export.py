"""One self-contained HTML file of what the viewer shows: to keep, to send, to open anywhere.

The page's own scripts and style are put into it, with the answers that they would ask the server
for.  Its policy allows these scripts by their hashes, and no connection to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel._view import answers
from kaizen_otel._view.server import STATIC

if TYPE_CHECKING:
    from kaizen_otel._view.server import Viewer

TRACES_MAX: Final = 200
RECORDS_MAX: Final = 2_000
_SCRIPTS: Final = ("base.js", "traces.js", "charts.js", "pages.js", "app.js")


def report(viewer: Viewer) -> str:
    """Return the page with the newest traces, records, and the verdict on the trail."""
    return build_page(collect(viewer))


def collect(viewer: Viewer) -> dict[str, Any]:
    """Read everything, and return the answers by the paths that the page asks for."""
    index = viewer.index
    while index.step():
        pass
    listed = answers.list_traces(index, {})
    said = answers.conversations(index)
    found: dict[str, Any] = {
        "/api/overview": answers.overview(index),
        "/api/traces": {**listed, "more": False},
        "/api/conversations": said,
        "/api/metrics": answers.list_metrics(index),
        "/api/verification": viewer.verification.answer(wait=True),
    }
    for row in listed["traces"][:TRACES_MAX]:
        found[f"/api/traces/{row['id']}"] = answers.trace(index, row["id"])
    for row in said["conversations"][:TRACES_MAX]:
        found[f"/api/conversations/{row['id']}"] = answers.conversation(index, row["id"])
    for row in found["/api/metrics"]["metrics"]:
        found[f"/api/metrics/{row['name']}"] = answers.metric(index, row["name"])
    for name in ("logs", "audit"):
        records = list(answers.iter_pages(index, name, RECORDS_MAX))
        found[f"/api/{name}"] = {"records": records, "next": ""}
    return found


def build_page(found: dict[str, Any]) -> str:
    """Put scripts, style and answers into the page."""
    scripts = [_read(name) for name in _SCRIPTS]
    style = _read("style.css")
    # Nothing that an agent wrote may end the element that it stands in.
    data = answers.encode_json(found).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; "
        f"style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    page = _read("index.html")
    head, _, rest = page.partition("<!-- head -->")
    body, _, end = rest.partition("<!-- scripts -->")
    _, _, body = body.partition("<!-- /head -->")
    _, _, end = end.partition("<!-- /scripts -->")
    inner = "\n".join(f"<script>{script}</script>" for script in scripts)
    return (
        f'{head}<meta http-equiv="content-security-policy" content="{policy}">\n'
        f"<style>{style}</style>{body}"
        f'<script type="application/json" id="answers">{data}</script>\n{inner}{end}'
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    text = (STATIC / name).read_text(encoding="utf-8")
    assert "</script" not in text.lower() or name == "index.html", "it would end its element"
    return text
