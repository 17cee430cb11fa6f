from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# The tests of this folder share one module; the import mode puts no folder on the path.
_SPEC = importlib.util.spec_from_file_location("seam", Path(__file__).with_name("seam.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
sys.modules.setdefault("seam", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(sys.modules["seam"])
