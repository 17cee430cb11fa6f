"""``python -m tests.cluster.kit up|down|load``: a cluster to look at and try things in."""

from __future__ import annotations

import sys
from pathlib import Path

from kaizen_otel._stack.build import say
from kaizen_otel.errors import SetupError
from tests.cluster.kit import lifecycle, programs
from tests.cluster.kit.images import SPECS, load, reference
from tests.cluster.kit.lifecycle import FOLDERS

USAGE = "usage: python -m tests.cluster.kit up | down | load [IMAGE...]"


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    match arguments:
        case ["up"]:
            found = programs.obtain()
            with lifecycle.turn():
                lifecycle.up(found)
            say(f"alias kubectl='{found.kube} kubectl'; export KUBECONFIG={FOLDERS.kubeconfig()}")
        case ["down"]:
            with lifecycle.turn():
                lifecycle.down()
        case ["load", *names]:
            for name in names or SPECS:
                load(SPECS[name](), FOLDERS.socket, name=reference(name))
                say(reference(name))
        case ["watch"]:
            lifecycle.watch()
        case _:
            say(USAGE)
            return 2
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
