"""Modules that are loaded when they are first used, not when they are imported: memory counts on a GPU host.

Nothing is taken away: whoever does use such a module gets it then.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


def postpone(name: str, **known: object) -> None:
    """Put a module off that is not loaded yet. What is `known` of it is had without loading it."""
    module = Later(name)
    module.__dict__.update(known)
    sys.modules.setdefault(name, module)


@contextmanager
def without(name: str) -> Iterator[None]:
    """Let others be imported that import the module `name`, part of a package, and put that one off."""
    postpone(name)
    yield
    package, _, part = name.rpartition(".")
    # Python itself makes a module an attribute of its package when it is loaded.
    if isinstance(module := sys.modules[name], Later):
        setattr(sys.modules[package], part, module)
