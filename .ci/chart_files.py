"""The Helm chart's copies of configs, overlays, alerts and dashboards.

``python .ci/chart_files.py`` copies; ``--check`` only names what differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "helm" / "kaizen-otel" / "files"

#: Folder of the chart's files -> folder below collector/, pattern, and what is left out.
SOURCES = {
    ".": ("config", "*.yaml", {"dev.yaml"}),
    "overlays": ("config/overlays", "*.yaml", set[str]()),
    "alerts": ("alerts", "*.rules.yaml", set[str]()),
    "dashboards": ("dashboards", "*.json", set[str]()),
}


def wanted() -> dict[Path, bytes]:
    """What the folder should hold."""
    found: dict[Path, bytes] = {}
    for folder, (source, pattern, left_out) in SOURCES.items():
        for path in sorted((ROOT / "collector" / source).glob(pattern)):
            if path.name not in left_out:
                found[FILES / folder / path.name] = path.read_bytes()
    return found


def differences() -> list[Path]:
    """Files of the chart that are missing, too many, or not what they are copies of."""
    files = wanted()
    there = {path for path in FILES.rglob("*") if path.is_file()}
    wrong = {path for path, content in files.items() if path not in there}
    wrong |= there - files.keys()
    wrong |= {path for path in there & files.keys() if path.read_bytes() != files[path]}
    return sorted(wrong)


def main() -> int:
    """Copy, or say which copies are wrong."""
    wrong = differences()
    if sys.argv[1:] == ["--check"]:
        for path in wrong:
            print(f"{path.relative_to(ROOT)} is not its original: run .ci/chart_files.py")
        return int(bool(wrong))
    files = wanted()
    for path in wrong:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
