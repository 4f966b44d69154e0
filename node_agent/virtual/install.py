"""Putting the virtual library beneath `pynvml`, and taking it out again."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml

from node_agent.clock import Clock, SystemClock
from node_agent.virtual.host import VirtualHost
from node_agent.virtual.library import FAULTABLE_SYMBOLS, VirtualLibrary
from node_agent.virtual.load import Load, LoadTable
from node_agent.virtual.spec import VirtualSpec, parse_spec


class NvmlInUse(RuntimeError):
    """NVML is open or already virtual in this process; the message says what to do."""


@dataclass(frozen=True, slots=True)
class _Saved:
    """What pynvml held before: its library, the functions looked up in it, and its count of users."""

    library: Any
    functions: dict[str, Any]
    references: int


# pynvml keeps its library in a module global, so there is one virtual library per process: this is its state.
_guard = threading.Lock()
_saved: _Saved | None = None


def install(
    spec: str | VirtualSpec,
    *,
    host_identity: str,
    load: Load | None = None,
    clock: Clock | None = None,
    absent_symbols: Collection[str] = (),
) -> VirtualHost:
    """Give this process virtual GPUs; `libnvidia-ml` is neither loaded nor called from here on.

    `host_identity` is any text that stays the same for this host and differs between hosts: UUIDs and serial
    numbers follow from it. Without a `load` the GPUs are idle. `absent_symbols` are C functions to leave out,
    as an old driver does.

    Raises:
        BadSpec: the specification cannot be read.
        NvmlInUse: NVML is open, or virtual GPUs are installed already.
    """
    global _saved  # noqa: PLW0603 - the state of pynvml, itself a module global
    parsed = parse_spec(spec) if isinstance(spec, str) else spec
    host = VirtualHost(
        parsed,
        host_identity=host_identity,
        load=load or LoadTable(),
        clock=clock or SystemClock(),
        symbols=FAULTABLE_SYMBOLS,
    )
    library = VirtualLibrary(host, absent_symbols=absent_symbols)
    with _guard:
        if _saved is not None:
            raise NvmlInUse("virtual GPUs are installed already: call uninstall() first")
        if pynvml._nvmlLib_refcount:  # noqa: SLF001 - pynvml has no public way to ask
            raise NvmlInUse("NVML is open in this process: call nvmlShutdown() before installing virtual GPUs")
        with pynvml.libLoadLock:
            cache = pynvml._nvmlGetFunctionPointer_cache  # noqa: SLF001 - it would go on calling the old library
            _saved = _Saved(pynvml.nvmlLib, dict(cache), pynvml._nvmlLib_refcount)  # noqa: SLF001 - restored later
            cache.clear()
            pynvml.nvmlLib = library
    return host


def uninstall() -> None:
    """Give `pynvml` back what it had before `install`; do nothing if no virtual GPUs are installed.

    Calls that hang in a virtual GPU are let go.
    """
    global _saved  # noqa: PLW0603 - the state of pynvml, itself a module global
    with _guard:
        if _saved is None:
            return
        host = installed()
        with pynvml.libLoadLock:
            cache = pynvml._nvmlGetFunctionPointer_cache  # noqa: SLF001 - it would go on calling the virtual library
            cache.clear()
            cache.update(_saved.functions)
            pynvml.nvmlLib = _saved.library
            pynvml._nvmlLib_refcount = _saved.references  # noqa: SLF001 - restored as it was
        _saved = None
    for gpu in host.gpus if host is not None else ():
        gpu.faults.release()


def installed() -> VirtualHost | None:
    """Return the virtual host beneath `pynvml`, or None if `pynvml` would use the real driver."""
    library = pynvml.nvmlLib
    return library.host if isinstance(library, VirtualLibrary) else None


@contextmanager
def virtual_gpus(
    spec: str | VirtualSpec,
    *,
    host_identity: str = "",
    load: Load | None = None,
    clock: Clock | None = None,
    absent_symbols: Collection[str] = (),
) -> Iterator[VirtualHost]:
    """Have virtual GPUs within a `with` block; see `install`."""
    host = install(spec, host_identity=host_identity, load=load, clock=clock, absent_symbols=absent_symbols)
    try:
        yield host
    finally:
        uninstall()
