"""Verification: what readings say, and the tests of memory and arithmetic against a stand-in for the CUDA driver."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node_agent.probe.samples import (
    EccCounts,
    GpuSample,
    PcieLink,
    ReadFailure,
    RecoveryAction,
    RemappedRows,
    RetiredPages,
    ThrottleReason,
)
from node_agent.repair.model import CheckOutcome
from node_agent.repair.ports import GpuReading, NvlinkReading, Reading
from node_agent.repair.verify import readings
from tests.node_agent.repair.values import gpu, sample

PASSED, FAILED, NOT_CHECKED = CheckOutcome.PASSED, CheckOutcome.FAILED, CheckOutcome.NOT_CHECKED


def reading(made: GpuSample, nvlinks: tuple[NvlinkReading, ...] | None = None) -> Reading:
    return Reading(None, {"GPU-0": GpuReading(made, nvlinks)})


@pytest.mark.parametrize(
    "sick",
    [
        replace(sample(0), failures=(ReadFailure("nvmlDeviceGetPowerUsage", "GPU_IS_LOST"),)),
        replace(sample(0), recovery_action=RecoveryAction.GPU_RESET),
        replace(sample(0), recovery_action=RecoveryAction.UNKNOWN),
        replace(sample(0), remapped_rows=RemappedRows(0, 0, pending=True, failure=False)),
        replace(sample(0), remapped_rows=RemappedRows(0, 0, pending=False, failure=True)),
        replace(sample(0), retired_pages=RetiredPages(0, 1, pending=True)),
        replace(sample(0), throttle_reasons=ThrottleReason.HW_SLOWDOWN),
        replace(sample(0), throttle_reasons=ThrottleReason.HW_POWER_BRAKE_SLOWDOWN | ThrottleReason.GPU_IDLE),
    ],
)
def test_a_sick_gpu_fails_the_sanity_check(sick: GpuSample) -> None:
    assert readings.nvml_sanity([gpu(0)], reading(sick))[0] is FAILED


@pytest.mark.parametrize(
    "well",
    [
        sample(0),
        replace(sample(0), remapped_rows=RemappedRows(3, 2, pending=False, failure=False)),
        replace(sample(0), remapped_rows=None, retired_pages=None, recovery_action=None, throttle_reasons=None),
        replace(sample(0), throttle_reasons=ThrottleReason.SW_POWER_CAP | ThrottleReason.GPU_IDLE),
    ],
)
def test_a_gpu_that_is_well_passes_it(well: GpuSample) -> None:
    assert readings.nvml_sanity([gpu(0)], reading(well))[0] is PASSED


def test_a_gpu_that_nvml_does_not_list_fails_it() -> None:
    assert readings.nvml_sanity([gpu(0), gpu(1)], reading(sample(0)))[0] is FAILED


def ecc_of(uncorrected: int | None) -> Reading:
    return reading(replace(sample(0), ecc=EccCounts(0, uncorrected, 0, uncorrected)))


def test_uncorrected_errors_may_be_there_but_must_not_rise() -> None:
    assert readings.ecc([gpu(0)], ecc_of(5), ecc_of(5))[0] is PASSED
    assert readings.ecc([gpu(0)], ecc_of(5), ecc_of(6))[0] is FAILED
    assert readings.ecc([gpu(0)], ecc_of(None), ecc_of(None))[0] is NOT_CHECKED


def pcie_of(width: int | None, replays: int) -> Reading:
    return reading(replace(sample(0), pcie=PcieLink(1, 5, width, 16, replays)))


def test_a_narrow_link_or_many_replays_fail_but_a_low_generation_at_rest_does_not() -> None:
    assert readings.pcie([gpu(0)], pcie_of(16, 0), pcie_of(16, 100))[0] is PASSED
    assert readings.pcie([gpu(0)], pcie_of(16, 0), pcie_of(16, 101))[0] is FAILED
    assert readings.pcie([gpu(0)], pcie_of(16, 0), pcie_of(8, 0))[0] is FAILED
    assert readings.pcie([gpu(0)], pcie_of(None, 0), pcie_of(None, 0))[0] is NOT_CHECKED


def nvlink_of(*links: NvlinkReading) -> Reading:
    return reading(sample(0), links)


def test_a_link_that_is_down_or_full_of_errors_fails() -> None:
    up, noisy, down = NvlinkReading(0, True, 5), NvlinkReading(0, True, 106), NvlinkReading(0, False, 5)
    assert readings.nvlink([gpu(0)], nvlink_of(up), nvlink_of(up))[0] is PASSED
    assert readings.nvlink([gpu(0)], nvlink_of(up), nvlink_of(noisy))[0] is FAILED
    assert readings.nvlink([gpu(0)], nvlink_of(down), nvlink_of(down))[0] is FAILED
    assert readings.nvlink([gpu(0)], nvlink_of(), nvlink_of())[0] is NOT_CHECKED
    assert readings.nvlink([gpu(0)], reading(sample(0)), reading(sample(0)))[0] is NOT_CHECKED


# A driver and a cuBLAS whose GPU is the memory of the process; an environment variable makes it sick.
_CUDA = """
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
typedef uint64_t P;
static int blocks = 0;
static const char *sick(void) { const char *s = getenv("SICK"); return s ? s : ""; }
int cuInit(unsigned f) { return strcmp(sick(), "init") ? 0 : 100; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDevicePrimaryCtxRetain(void **c, int d) { *c = (void *)1; return 0; }
int cuCtxSetCurrent(void *c) { return c ? 0 : 1; }
int cuCtxSynchronize(void) { if (!strcmp(sick(), "hang")) for (;;); return 0; }
int cuMemGetInfo_v2(size_t *f, size_t *t) {
  *f = strcmp(sick(), "full") ? (size_t)(1400 - 256 * blocks) << 20 : 0; *t = (size_t)1400 << 20; return 0; }
int cuMemAlloc_v2(P *p, size_t n) { blocks += n > (64 << 20); *p = (P)malloc(n); return *p ? 0 : 2; }
int cuMemFree_v2(P p) { free((void *)p); blocks--; return 0; }
int cuMemsetD32_v2(P p, unsigned v, size_t n) {
  unsigned *w = (unsigned *)p;
  for (size_t i = 0; i < n; i++) w[i] = v;
  if (!strcmp(sick(), "memory") && n > (32 << 20)) w[n - 7] ^= 4;
  return 0; }
int cuMemcpyHtoD_v2(P p, const void *h, size_t n) { memcpy((void *)p, h, n); return 0; }
int cuMemcpyDtoH_v2(void *h, P p, size_t n) { memcpy(h, (void *)p, n); return 0; }
int cuGetErrorName(int e, const char **s) { *s = e == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_UNKNOWN"; return 0; }
"""
_CUBLAS = """
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
int cublasCreate_v2(void **h) { *h = (void *)1; return 0; }
int cublasSgemm_v2(void *h, int ta, int tb, int m, int n, int k, const float *alpha, uint64_t a, int lda,
                   uint64_t b, int ldb, const float *beta, uint64_t c, int ldc) {
  float *A = (float *)a, *B = (float *)b, *C = (float *)c;
  static float sums[8192];
  /* The columns of A are multiples of one another: one sum for each column of B is all that is needed. */
  for (int j = 0; j < n; j++) {
    double s = 0;
    for (int l = 0; l < k; l++) s += (double)(A[(size_t)l * lda] / A[0]) * B[l + (size_t)j * ldb];
    sums[j] = (float)s;
    for (int i = 0; i < m; i++) C[i + (size_t)j * ldc] = *alpha * A[i] * sums[j];
  }
  const char *s = getenv("SICK");
  if (s && !strcmp(s, "matrix")) C[12345] += 1;
  return 0;
}
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    directory = tmp_path_factory.mktemp("libraries")
    for name, text in (("libcuda.so.1", _CUDA), ("libcublas.so.12", _CUBLAS)):
        source = directory / f"{name}.c"
        source.write_text(text)
        subprocess.run([compiler, "-O2", "-w", "-shared", "-fPIC", "-o", directory / name, source], check=True)
    return directory


def child(path: Path, sick: str = "", seconds: float = 0.5) -> dict[str, Any]:  # Any: JSON
    environment = {"PATH": os.defpath, "LD_LIBRARY_PATH": str(path), "SICK": sick}
    argv = [sys.executable, "-I", "-m", "node_agent.repair.verify.cuda_child", "--seconds", str(seconds)]
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=100, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_gpu_that_is_well_holds_its_patterns_and_multiplies_exactly(libraries: Path) -> None:
    found = child(libraries)
    assert found["memory_pattern"][0] == "passed", found
    assert "GB read back" in found["memory_pattern"][1]
    assert found["matrix"][0] == "passed", found
    assert "products of 2048 x 2048 exact" in found["matrix"][1]


def test_one_wrong_bit_of_memory_is_found(libraries: Path) -> None:
    found = child(libraries, "memory", seconds=100.0)  # it ends with the first that is found
    assert found["memory_pattern"][0] == "failed", found


def test_one_wrong_element_of_a_product_is_found(libraries: Path) -> None:
    found = child(libraries, "matrix")
    assert found["memory_pattern"][0] == "passed", found
    assert found["matrix"][0] == "failed", found


def test_a_gpu_that_cuda_cannot_use_fails(libraries: Path) -> None:
    found = child(libraries, "init")
    assert found["memory_pattern"] == ["failed", "CUDA cannot use the GPU: cuInit: CUDA_ERROR_NO_DEVICE (100)"]


def test_a_gpu_without_free_memory_is_not_checked(libraries: Path) -> None:
    found = child(libraries, "full")
    assert found["memory_pattern"][0] == "not_checked"


def test_without_cublas_the_arithmetic_is_not_checked_and_it_says_why(libraries: Path, tmp_path: Path) -> None:
    shutil.copy(libraries / "libcuda.so.1", tmp_path)
    found = child(tmp_path)
    assert found["memory_pattern"][0] == "passed", found
    if found["matrix"][0] == "passed":
        pytest.skip("this host has cuBLAS")
    assert "cuBLAS is not installed" in found["matrix"][1]


def test_without_a_driver_nothing_is_checked_and_it_says_why(tmp_path: Path) -> None:
    if any(Path(place).exists() for place in ("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/lib64/libcuda.so.1")):
        pytest.skip("this host has a driver")
    found = child(tmp_path)
    assert found["memory_pattern"][0] == found["matrix"][0] == "not_checked"
    assert "libcuda.so.1" in found["matrix"][1]
