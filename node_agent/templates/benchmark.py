"""Measures matrix multiplication and memory bandwidth: on each GPU through PyTorch, else on one CPU core."""

import random
import sys
import time
from typing import Any

from node_agent.templates.run import Run, parser, say, torch_on_gpu

_CPU_SIZE = 64
_GPU_SIZE = 4096
_COPY_BYTES = 64 * 1024 * 1024
_ROUNDS = 8


def main() -> int:
    """Measure until the run is done and print the best figures."""
    options = parser(__doc__ or "").parse_args()
    run = Run("benchmark", seconds=options.seconds, steps=options.steps)
    torch = torch_on_gpu()
    best: dict[str, float] = {}
    while not run.done():
        figures = _cpu() if torch is None else _gpus(torch)
        for name, value in figures.items():
            best[name] = max(best.get(name, 0.0), value)
        run.step += 1
        say(f"benchmark: round {run.step} " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
    for name, value in best.items():
        say(f"benchmark: best {name} {value:.4g}")
    return run.exit_code()


def _cpu() -> dict[str, float]:
    """Return figures of one core in plain Python."""
    size = _CPU_SIZE
    left = [[random.random() for _ in range(size)] for _ in range(size)]  # noqa: S311 - operands
    columns = list(zip(*left, strict=True))
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        product = [[sum(map(float.__mul__, row, column)) for column in columns] for row in left]
    gflops = 2 * size**3 * _ROUNDS / (time.perf_counter() - began) / 1e9
    assert len(product) == size
    source, target = bytearray(_COPY_BYTES), bytearray(_COPY_BYTES)
    began = time.perf_counter()
    memoryview(target)[:] = source
    copy = 2 * _COPY_BYTES / (time.perf_counter() - began) / 1e9
    return {"matmul_gflops": gflops, "memory_gb_per_second": copy}


def _gpus(torch: Any) -> dict[str, float]:
    """Return figures of each GPU. Any: torch is optional and ships no stubs here."""
    figures = {}
    for index in range(torch.cuda.device_count()):
        device = f"cuda:{index}"
        matrix = torch.randn(_GPU_SIZE, _GPU_SIZE, device=device, dtype=torch.float16)
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        for _ in range(_ROUNDS):
            matrix = torch.nn.functional.normalize(matrix @ matrix)
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
        figures[f"gpu{index}_matmul_tflops"] = 2 * _GPU_SIZE**3 * _ROUNDS / seconds / 1e12
        source = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device)
        began = time.perf_counter()
        for _ in range(_ROUNDS):
            source = source.clone()
        torch.cuda.synchronize(device)
        figures[f"gpu{index}_memory_gb_per_second"] = 2 * _COPY_BYTES * _ROUNDS / (time.perf_counter() - began) / 1e9
    return figures


if __name__ == "__main__":
    sys.exit(main())
