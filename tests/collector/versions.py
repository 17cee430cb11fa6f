"""Whether other versions of the Collector take the shipped configs: run this with their paths.

    python -m tests.collector.versions BINARY...

Prints one line for each config, alone and with every largest set of its overlays.  What a binary
lacks is taken out of a copy of the config first and named, so that the rest is checked.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kaizen_otel._collector.components import KINDS, describe, required_components
from kaizen_otel._collector.obtain import inspect_binary
from kaizen_otel._collector.resources import SHIPPED_CONFIGS, config_path
from kaizen_otel._collector.validate import validate
from kaizen_otel.errors import ConfigError
from tests.collector.test_configs import combinations, environment, telling

if TYPE_CHECKING:
    from kaizen_otel._collector.components import Components


def merged(texts: list[str]) -> dict[str, Any]:
    """One config and its overlays as the Collector merges them: maps by key, lists whole."""

    def over(below: object, above: object) -> object:
        if isinstance(below, dict) and isinstance(above, dict):
            return {**below, **{key: over(below.get(key), value) for key, value in above.items()}}
        return above

    result: Any = {}
    for text in texts:
        result = over(result, yaml.safe_load(text))
    return dict(result)


def strip(config: dict[str, Any], missing: Components) -> None:
    """Take out components of some types, and pipelines that then begin or end nowhere."""
    gone: set[str] = set()
    for kind in KINDS:
        for name in list(config.get(kind) or {}):
            if (kind, name.partition("/")[0]) in missing:
                del config[kind][name]
                gone.add(name)
    service = config["service"]
    service["extensions"] = [name for name in service["extensions"] if name not in gone]
    for pipeline, parts in list(service["pipelines"].items()):
        for part, names in parts.items():
            parts[part] = [name for name in names if name not in gone]
        if not (parts["receivers"] and parts["exporters"]):
            del service["pipelines"][pipeline]


def check(binary: Path, config: str, overlays: tuple[str, ...], folder: Path) -> str:
    """What the binary says of one config with overlays."""
    paths = [config_path(name) for name in (config, *overlays)]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    missing = required_components(texts) - inspect_binary(binary).components
    if missing:
        content = merged(texts)
        strip(content, missing)
        if not content["service"]["pipelines"]:
            return f"cannot be used: lacks {describe(missing)}"
        paths = [folder / "stripped.yaml"]
        paths[0].write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        validate(
            paths,
            binary=binary,
            environment={"KAIZEN_OTEL_QUEUE_DIR": str(folder), **environment(overlays)},
        )
    except ConfigError as error:
        return f"refused: {error}"
    return f"valid without {describe(missing)}" if missing else "valid"


def main(binaries: list[str]) -> int:
    """Print the table; 1 if one of the configs is refused."""
    refused = 0
    for name in binaries:
        facts = inspect_binary(Path(name))
        sys.stdout.write(f"{name}: version {facts.version_text}\n")
        for config in SHIPPED_CONFIGS:
            for overlays in [(), *telling(combinations(config))]:
                with tempfile.TemporaryDirectory() as folder:
                    answer = check(Path(name), config, overlays, Path(folder))
                refused += answer.startswith("refused")
                sys.stdout.write(f"  {'+'.join((config, *overlays))}: {answer}\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
