"""Keeps modules out of the probe that others import and the probe has no use for: a second Python must be small.

To be imported before everything else; see `node_agent.later`.
"""

import sys
from importlib import import_module
from types import ModuleType

from node_agent.later import postpone


def _find_library(name: str) -> str | None:
    sys.modules.pop("ctypes.util", None)
    found: str | None = import_module("ctypes.util").find_library(name)
    return found


# dataclasses wants it for classes without a docstring: 1 MB with the parser modules that it brings.
postpone("inspect")
# pynvml imports find_library, which it needs on Windows alone: 1.5 MB with subprocess, tempfile and 13 others.
_finder = ModuleType("ctypes.util")
_finder.__dict__["find_library"] = _find_library
sys.modules.setdefault("ctypes.util", _finder)
