"""Helm's SDK behind two pipes: one JSON document a line in, one a line out.

Runs in the environment of ``.ci/chart_tools.py``: a render takes a fraction of what starting Helm
takes.  A request is ``{"chart": key, "base": key, "files": {path: text}}`` for a chart to keep
(with the files of another, except these), or ``{"chart": key, "values": {...}, "name": ...,
"namespace": ..., "is_upgrade": ...}`` for a render; the answer is ``{"manifests": {path: text}}``
or ``{"refusal": kind, "message": text}``.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from typing import Any

import helm_python


def archive(files: dict[str, str]) -> bytes:
    """The chart as ``helm package`` writes it, in memory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as package:
        for path, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(f"chart/{path}")
            entry.size = len(data)
            package.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def answer(chart: helm_python.Chart, request: dict[str, Any]) -> dict[str, Any]:
    """One render."""
    try:
        manifests = chart.render(
            request["values"],
            name=request["name"],
            namespace=request["namespace"],
            is_upgrade=request["is_upgrade"] or None,
        )
    except helm_python.HelmValuesError as error:
        return {"refusal": "schema", "message": str(error)}
    except helm_python.HelmRenderError as error:
        return {"refusal": "template", "message": str(error)}
    return {"manifests": manifests}


def main() -> None:
    """Answer until the input ends."""
    files: dict[str, dict[str, str]] = {}
    charts: dict[str, helm_python.Chart] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = request["chart"]
        if "files" in request:
            files[key] = {**files.get(request["base"], {}), **request["files"]}
            if key in charts:
                charts.pop(key).close()
            try:
                charts[key] = helm_python.Chart.load_archive(archive(files[key]))
                found: dict[str, Any] = {}
            except helm_python.HelmError as error:
                found = {"refusal": "chart", "message": str(error)}
        elif key not in charts:
            found = {"refusal": "chart", "message": f"no chart {key!r} is loaded"}
        else:
            found = answer(charts[key], request)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
