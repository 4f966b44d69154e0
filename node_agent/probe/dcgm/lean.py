"""Imports modules of a package without what the package itself brings along."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_package_code(name: str) -> Iterator[None]:
    """Let the package's modules be imported without its `__init__`. Whoever imports the package later gets all of it.

    For packages whose `__init__` imports far more than the modules that are wanted, where memory counts. Does nothing
    if the package has been imported already.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None:
        yield
        return
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[name]
