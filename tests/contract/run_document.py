"""Runs every Python block of a Markdown file, in order, in one namespace.  Not a test itself.

A process of its own for each document, because a process has one telemetry pipeline.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser


def main(path: str) -> int:
    """Run the blocks; the traceback names the line of the document."""
    document = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()]).parse(Path(path))
    count = 0
    for example in document.examples():
        example.evaluate()
        count += 1
    sys.stdout.write(f"{count} blocks\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
