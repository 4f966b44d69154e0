"""Keeps modules out of the probe that others import and the probe has no use for: a second Python must be small.

To be imported before everything else. Nothing is taken away: whoever does use such a module gets it then.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class Later(ModuleType):
    """Stands for a module until one of its attributes is asked for."""

    def __getattr__(self, name: str) -> Any:
        """Load the module and return its attribute. Any: whatever the module has."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def _find_library(name: str) -> str | None:
    sys.modules.pop("ctypes.util", None)
    found: str | None = import_module("ctypes.util").find_library(name)
    return found


def postpone() -> None:
    """Put modules off that are not loaded yet."""
    # dataclasses wants it for classes without a docstring: 1 MB with the parser modules that it brings.
    sys.modules.setdefault("inspect", Later("inspect"))
    # pynvml imports find_library, which it needs on Windows alone: 1.5 MB with subprocess, tempfile and 13 others.
    finder = ModuleType("ctypes.util")
    finder.__dict__["find_library"] = _find_library
    sys.modules.setdefault("ctypes.util", finder)


postpone()
