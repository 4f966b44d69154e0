import sys
from ctypes import CDLL

import pynvml
import pytest

from node_agent.virtual import BadSpec, NvmlInUse, installed, uninstall, virtual_gpus
from node_agent.virtual.install import install


def test_pynvml_gets_back_what_it_had() -> None:
    assert installed() is None
    before = pynvml.nvmlLib
    with virtual_gpus("2xL4") as host:
        assert installed() is host
        pynvml.nvmlInit()
        assert pynvml.nvmlDeviceGetCount() == 2
    assert installed() is None
    assert pynvml.nvmlLib is before
    assert pynvml._nvmlLib_refcount == 0
    assert pynvml._nvmlGetFunctionPointer_cache == {}


def test_functions_looked_up_in_one_library_are_not_called_for_the_next() -> None:
    for spec, count in (("2xL4", 2), ("5xT4", 5)):
        with virtual_gpus(spec):
            pynvml.nvmlInit()
            assert pynvml.nvmlDeviceGetCount() == count


def test_a_library_loaded_before_is_put_aside_and_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    real = CDLL(None)  # stands for libnvidia-ml: it has no NVML function, so any call to it would fail
    monkeypatch.setattr(pynvml, "nvmlLib", real)
    pynvml._nvmlGetFunctionPointer_cache["nvmlInitWithFlags"] = sys.exit
    try:
        with virtual_gpus("1xH100"):
            pynvml.nvmlInit()
            assert pynvml.nvmlDeviceGetCount() == 1
        assert pynvml.nvmlLib is real
        assert pynvml._nvmlGetFunctionPointer_cache == {"nvmlInitWithFlags": sys.exit}
    finally:
        pynvml._nvmlGetFunctionPointer_cache.clear()


def test_a_second_installation_is_refused() -> None:
    with virtual_gpus("1xH100") as host:
        with pytest.raises(NvmlInUse, match="uninstall"):
            install("1xL4", host_identity="x")
        assert installed() is host


def test_installing_while_nvml_is_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "_nvmlLib_refcount", 1)
    with pytest.raises(NvmlInUse, match="nvmlShutdown"):
        install("1xL4", host_identity="x")
    assert installed() is None


def test_a_bad_specification_installs_nothing() -> None:
    with pytest.raises(BadSpec):
        install("8xNothing", host_identity="x")
    assert installed() is None


def test_uninstalling_without_an_installation_does_nothing() -> None:
    uninstall()
    assert installed() is None
