"""Tests the memory and the arithmetic of one GPU. A program of its own, so that a driver that hangs hangs only it.

It needs the driver's libcuda alone for memory, and cuBLAS for arithmetic. It prints one JSON object on its last line:
for `memory_pattern` and `matrix` each an outcome ("passed", "failed", "not_checked") and a detail.
"""

# ruff: noqa: PTH207
from __future__ import annotations

import argparse
import ctypes
import glob
import json
import os
import sys
import time
from array import array
from typing import Any

PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not_checked"
_CHUNK_BYTES = 256 * 1024 * 1024
_PIECE_BYTES = 32 * 1024 * 1024
_SPARED_BYTES = 768 * 1024 * 1024  # for cuBLAS's workspace and the context
_PATTERNS = (0xAAAAAAAA, 0x55555555, 0xFFFFFFFF, 0x00000000)
_MATRIX = 2048
_ROUNDS = 8
_CUBLAS = ("libcublas.so.13", "libcublas.so.12", "libcublas.so.11")
_CUBLAS_PLACES = ("/usr/local/cuda*/targets/*/lib", "/usr/local/cuda*/lib64", "/usr/lib/*-linux-gnu")

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class CudaError(Exception):
    """A call of the driver or of cuBLAS failed."""


class Missing(Exception):
    """Something that the test needs is not on this host."""


class Cuda:
    """The few calls of the driver that the tests need. Any: ctypes has no types for functions of a library."""

    def __init__(self) -> None:
        """Take the first visible GPU; raises Missing without a driver, CudaError if the GPU cannot be used."""
        try:
            self._library: Any = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise Missing(f"libcuda.so.1 cannot be loaded ({error}): install the driver's compute library") from error
        self._call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)

    def free_bytes(self) -> int:
        """Return the free memory of the GPU."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        """Return the address of memory on the GPU."""
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value

    def release(self, address: int) -> None:
        """Give memory back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def fill(self, address: int, word: int, size: int) -> None:
        """Fill memory with a word of 32 bits."""
        self._call("cuMemsetD32_v2", ctypes.c_uint64(address), ctypes.c_uint(word), ctypes.c_size_t(size // 4))

    def to_gpu(self, address: int, data: bytes) -> None:
        """Copy to the GPU."""
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), data, ctypes.c_size_t(len(data)))

    def from_gpu(self, buffer: Any, address: int, size: int) -> None:
        """Copy from the GPU."""
        self._call("cuMemcpyDtoH_v2", buffer, ctypes.c_uint64(address), ctypes.c_size_t(size))

    def wait(self) -> None:
        """Wait until the GPU has done all it was told."""
        self._call("cuCtxSynchronize")

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(status, ctypes.byref(text))
            raise CudaError(f"{name}: {(text.value or b'error').decode(errors='replace')} ({status})")


def test_memory(cuda: Cuda, seconds: float) -> tuple[str, str]:
    """Fill what is free with patterns that differ from chunk to chunk, read back, compare, as far as time allows."""
    deadline = time.monotonic() + seconds
    chunks = _allocate(cuda)
    if not chunks:
        return NOT_CHECKED, "no chunk of 256 MiB is free on the GPU: something else holds its memory"
    buffer = ctypes.create_string_buffer(_PIECE_BYTES)
    checked = 0
    patterns = 0
    try:
        for pattern in _PATTERNS:
            words = [pattern ^ (index * 0x01000193 & 0xFFFFFFFF) for index in range(len(chunks))]
            for address, word in zip(chunks, words, strict=True):
                cuda.fill(address, word, _CHUNK_BYTES)
            cuda.wait()
            for address, word in zip(chunks, words, strict=True):
                expected = word.to_bytes(4, "little") * (_PIECE_BYTES // 4)
                for offset in range(0, _CHUNK_BYTES, _PIECE_BYTES):
                    cuda.from_gpu(buffer, address + offset, _PIECE_BYTES)
                    if _memcmp(buffer, expected, _PIECE_BYTES) != 0:
                        return FAILED, f"memory at {address + offset:#x} does not hold the pattern {word:#010x}"
                    checked += _PIECE_BYTES
                    if time.monotonic() > deadline:
                        return PASSED, _covered(checked, patterns, len(chunks))
            patterns += 1
    finally:
        for address in chunks:
            cuda.release(address)
    return PASSED, _covered(checked, patterns, len(chunks))


def _covered(checked: int, patterns: int, chunks: int) -> str:
    return f"{checked / 1e9:.1f} GB read back over {chunks * _CHUNK_BYTES / 1e9:.1f} GB, {patterns} whole patterns"


def _allocate(cuda: Cuda) -> list[int]:
    chunks: list[int] = []
    while cuda.free_bytes() >= _SPARED_BYTES + _CHUNK_BYTES:
        try:
            chunks.append(cuda.allocate(_CHUNK_BYTES))
        except CudaError:  # what is free may be in pieces
            break
    return chunks


def test_matrix(cuda: Cuda, seconds: float) -> tuple[str, str]:
    """Multiply matrices of small whole numbers, so that each product is exact, and compare each element."""
    library = _load_cublas()
    handle = ctypes.c_void_p()
    _cublas(library.cublasCreate_v2(ctypes.byref(handle)), "cublasCreate")
    size = _MATRIX
    rows = [1 + index % 5 for index in range(size)]
    inner = [1 + index % 3 for index in range(size)]
    outer = [1 + index % 2 for index in range(size)]
    columns = [1 + index % 4 for index in range(size)]
    total = sum(one * other for one, other in zip(inner, outer, strict=True))
    left, right, product = (cuda.allocate(size * size * 4) for _ in range(3))
    cuda.to_gpu(left, _rank_one(rows, inner))
    cuda.to_gpu(right, _rank_one(outer, columns))
    expected = _rank_one([total * row for row in rows], columns)
    buffer = ctypes.create_string_buffer(len(expected))
    one, zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
    began, count = time.monotonic(), 0
    while count == 0 or time.monotonic() - began < seconds:
        cuda.fill(product, 0xFFFFFFFF, len(expected))
        for _ in range(_ROUNDS):
            status = library.cublasSgemm_v2(
                handle, 0, 0, size, size, size, ctypes.byref(one), ctypes.c_uint64(left), size,
                ctypes.c_uint64(right), size, ctypes.byref(zero), ctypes.c_uint64(product), size,
            )  # fmt: skip
            _cublas(status, "cublasSgemm")
        cuda.wait()
        cuda.from_gpu(buffer, product, len(expected))
        if _memcmp(buffer, expected, len(expected)) != 0:
            return FAILED, f"product {count} of two matrices of {size} x {size} is wrong"
        count += _ROUNDS
    rate = 2 * size**3 * count / (time.monotonic() - began) / 1e12
    return PASSED, f"{count} products of {size} x {size} exact, {rate:.1f} TFLOPS with their comparison"


def _rank_one(column: list[int], row: list[int]) -> bytes:
    """Return the matrix `column` times `row` in single precision, column by column as cuBLAS wants it."""
    made = {factor: array("f", [value * factor for value in column]).tobytes() for factor in set(row)}
    return b"".join(made[factor] for factor in row)


def _load_cublas() -> Any:
    reasons = []
    for name in _CUBLAS:
        places = [name, *(path for place in _CUBLAS_PLACES for path in sorted(glob.glob(f"{place}/{name}")))]
        for path in places:
            try:
                if "/" in path:  # its companion lies beside it and is not on the loader's path either
                    ctypes.CDLL(path.replace("libcublas", "libcublasLt"), mode=ctypes.RTLD_GLOBAL)
                return ctypes.CDLL(path)
            except OSError as error:
                reasons.append(str(error))
    raise Missing(f"cuBLAS is not installed (looked for {', '.join(_CUBLAS)}): {reasons[0][:200]}")


def _cublas(status: int, name: str) -> None:
    if status != 0:
        raise CudaError(f"{name} failed with status {status}")


def main() -> int:
    """Run both tests and print what they found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=20.0)
    seconds = options.parse_args().seconds
    found: dict[str, tuple[str, str]] = {}
    try:
        cuda = Cuda()
    except Missing as missing:
        found = dict.fromkeys(("memory_pattern", "matrix"), (NOT_CHECKED, str(missing)))
    except CudaError as error:
        found = dict.fromkeys(("memory_pattern", "matrix"), (FAILED, f"CUDA cannot use the GPU: {error}"))
    else:
        found["memory_pattern"] = _attempt(lambda: test_memory(cuda, seconds * 0.7))
        found["matrix"] = _attempt(lambda: test_matrix(cuda, seconds * 0.3))
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # a sick driver can hang in its own exit handlers


def _attempt(test: Any) -> tuple[str, str]:  # Any: a function without arguments
    try:
        outcome, detail = test()
    except Missing as missing:
        return NOT_CHECKED, str(missing)
    except CudaError as error:
        return FAILED, str(error)
    return outcome, detail


if __name__ == "__main__":
    sys.exit(main())
