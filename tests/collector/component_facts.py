"""Make ``kaizen_otel/_collector/component_facts.json``: what the pinned components can be told.

    python tests/collector/component_facts.py                        after a change of the manifest
    python tests/collector/component_facts.py --contrib manifest.yaml   also renews the list of the
        official contrib distribution from its builder manifest (opentelemetry-collector-releases)

A small Go program beside the gateway distribution's own component list asks each factory for its
configuration and prints the keys of that type.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from kaizen_otel._collector.build import BUILD_FLAGS

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "kaizen_otel" / "_collector" / "component_facts.json"
DISTRIBUTION = ROOT / "collector" / "builder" / "distribution" / "gateway"
PROGRAM = Path(__file__).with_name("component_facts.go.txt")
KINDS = ("receivers", "processors", "exporters", "connectors", "extensions")

# Modules whose type is not their name without the kind.
TYPES = {
    "oidcauthextension": "oidc",
    "oauth2clientauthextension": "oauth2client",
    "otlpexporter": "otlpgrpc",
    "otlphttpexporter": "otlphttp",
    "filestorage": "filestorage",
    "obi": "obi",
}
# Kept in the list although the pinned contrib distribution is not the only official one.
CORE = {
    "extensions": ["memorylimiter"],
    "processors": ["queuebatch"],
    "exporters": ["nop"],
}

# The official elasticsearch exporter takes these beside the keys that ours honours too (its
# config.go at v0.161.0); the module itself cannot be had everywhere.
OFFICIAL_ELASTICSEARCH: dict[str, Any] = {
    "bulk_response_filter_path": None,
    "cloudid": None,
    "discover": {"interval": None, "on_start": None},
    "flush": {"bytes": None, "interval": None},
    "include_source_on_error": None,
    "log_failed_docs_input": None,
    "log_failed_docs_input_rate_limit": None,
    "log_request_body": None,
    "log_response_body": None,
    "logs_dynamic_id": {"enabled": None},
    "logs_dynamic_index": {"enabled": None},
    "logs_dynamic_pipeline": {"enabled": None},
    "logstash_format": {"date_format": None, "enabled": None, "prefix_separator": None},
    "metadata_keys": None,
    "metrics_dynamic_index": {"enabled": None},
    "metrics_index": None,
    "num_workers": None,
    "pipeline": None,
    "telemetry": {"*": None},
    "traces_dynamic_id": {"enabled": None},
    "traces_dynamic_index": {"enabled": None},
    "traces_index": None,
}
OFFICIAL_RETRY = ("enabled", "max_requests")


def facts(contrib: dict[str, list[str]]) -> dict[str, Any]:
    """The facts of the committed gateway distribution."""
    found: dict[str, Any] = json.loads(_run_program())
    elasticsearch = found["exporters"]["elasticsearch"]["keys"]
    elasticsearch |= OFFICIAL_ELASTICSEARCH
    elasticsearch["retry"] |= dict.fromkeys(OFFICIAL_RETRY)
    pipeline = dict.fromkeys(("receivers", "processors", "exporters"))
    found["service"] = {
        "extensions": None,
        "pipelines": {"*": pipeline},
        "telemetry": found.pop("telemetry"),
    }
    return {"version": _version(), **found, "contrib": contrib}


def rendered(data: dict[str, Any]) -> str:
    """The file's text: a line per component, so that a change is easy to see."""
    lines = ["{", f'"version": {json.dumps(data["version"])},']
    for kind in KINDS:
        rows = [
            f"  {json.dumps(name)}: {json.dumps(component, sort_keys=True)}"
            for name, component in sorted(data[kind].items())
        ]
        lines.append(f'"{kind}": {{\n' + ",\n".join(rows) + "\n},")
    lines.append(f'"service": {json.dumps(data["service"], sort_keys=True)},')
    rows = [f'  "{kind}": {json.dumps(sorted(data["contrib"][kind]))}' for kind in KINDS]
    lines.append('"contrib": {\n' + ",\n".join(rows) + "\n}")
    return "\n".join([*lines, "}", ""])


def contrib_types(manifest: str) -> dict[str, list[str]]:
    """The types of a builder manifest by kind, without underscores."""
    parsed = yaml.safe_load(manifest)
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        modules = [entry["gomod"].split()[0].rpartition("/")[2] for entry in parsed[kind]]
        stems = {TYPES.get(name, name.removesuffix(kind.removesuffix("s"))) for name in modules}
        found[kind] = sorted(stems | set(CORE.get(kind, ())))
    return found


def _run_program() -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("components.go", "go.sum"):
            (folder / file).write_bytes((DISTRIBUTION / file).read_bytes())
        # The replaced modules are named relative to the distribution.
        module = re.sub(
            r"=> (\.\.\S*)",
            lambda match: f"=> {(DISTRIBUTION / match[1]).resolve()}",
            (DISTRIBUTION / "go.mod").read_text(encoding="utf-8"),
        )
        (folder / "go.mod").write_text(module, encoding="utf-8")
        (folder / "main.go").write_bytes(PROGRAM.read_bytes())
        # The flags of a real build, so that what one has compiled the other finds compiled.
        environment = {**os.environ, "CGO_ENABLED": "0"}
        done = subprocess.run(
            ["go", "run", *BUILD_FLAGS, "."],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"the Go program failed:\n{done.stderr}")
    return done.stdout


def _version() -> str:
    text = (DISTRIBUTION / "main.go").read_text(encoding="utf-8")
    match = re.search(r'Version:\s+"([^"]+)"', text)
    assert match is not None, "the builder writes it"
    return match[1]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contrib", type=Path, help="the official builder manifest")
    arguments = parser.parse_args()
    if arguments.contrib is not None:
        contrib = contrib_types(arguments.contrib.read_text(encoding="utf-8"))
    else:
        contrib = json.loads(TARGET.read_text(encoding="utf-8"))["contrib"]
    TARGET.write_text(rendered(facts(contrib)), encoding="utf-8")


if __name__ == "__main__":
    main()
