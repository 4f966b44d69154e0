"""The programs that put load on GPUs: run apart from the daemon, with a deadline."""

import json
import sys
from collections.abc import Sequence
from typing import Final

from node_agent.repair.commands import ToolResult, run_bounded
from node_agent.repair.model import CheckOutcome
from node_agent.repair.toolbox import DIRECTORIES, MARKER

Finding = tuple[CheckOutcome, str]

CUDA_CHECKS: Final = ("memory_pattern", "matrix")
_CUDA_PROGRAM: Final = "node_agent.repair.verify.cuda_child"
_CANARY_PROGRAM: Final = "node_agent.templates.benchmark"
_GPU_FIGURE: Final = "_matmul_tflops"


async def cuda_checks(gpu_uuid: str, *, seconds: float, deadline_seconds: float, repair_id: str) -> dict[str, Finding]:
    """Test memory and arithmetic of one GPU; what cannot be tested says why."""
    result = await _run(
        _CUDA_PROGRAM, ("--seconds", str(seconds)), (gpu_uuid,), deadline_seconds=deadline_seconds, repair_id=repair_id
    )
    if result.exit_code is None:
        hangs = (CheckOutcome.FAILED, f"no end within {deadline_seconds:.0f} s: the driver or the GPU hangs")
        return dict.fromkeys(CUDA_CHECKS, hangs)
    try:
        document = json.loads(result.output.decode(errors="replace").strip().splitlines()[-1])
        return {name: (CheckOutcome(document[name][0]), str(document[name][1])) for name in CUDA_CHECKS}
    except (ValueError, KeyError, IndexError, TypeError):
        died = (CheckOutcome.FAILED, f"the test ended with {result.exit_code} and no result: {result.text[-500:]}")
        return dict.fromkeys(CUDA_CHECKS, died)


async def canary(
    gpu_uuids: Sequence[str], *, virtual: bool, seconds: float, deadline_seconds: float, repair_id: str
) -> Finding:
    """Run a short real program as a job would be run, on all the GPUs at once."""
    result = await _run(
        _CANARY_PROGRAM,
        ("--seconds", str(seconds)),
        gpu_uuids,
        deadline_seconds=deadline_seconds,
        repair_id=repair_id,
    )
    if result.exit_code is None:
        return CheckOutcome.FAILED, f"the benchmark did not end within {deadline_seconds:.0f} s"
    if result.exit_code != 0:
        return CheckOutcome.FAILED, f"the benchmark ended with {result.exit_code}: {result.text[-500:]}"
    lines = result.output.decode(errors="replace").splitlines()
    best = [line.removeprefix("benchmark: best ").strip() for line in lines if line.startswith("benchmark: best ")]
    if not best:
        return CheckOutcome.FAILED, f"the benchmark ended well but measured nothing: {result.text[-500:]}"
    figures = ", ".join(best)
    seen = sum(_GPU_FIGURE in line for line in best)
    if virtual or not gpu_uuids:
        where = "the GPUs are virtual" if virtual else "the host has no GPUs"
        return CheckOutcome.PASSED, f"the benchmark ran on the CPU, for {where}: {figures}"
    if seen == 0:
        why = "the benchmark found no PyTorch that sees the GPUs and ran on the CPU: install PyTorch for the daemon"
        return CheckOutcome.NOT_CHECKED, f"{why}; {figures}"
    if seen < len(gpu_uuids):
        return CheckOutcome.FAILED, f"the benchmark saw {seen} of {len(gpu_uuids)} GPUs: {figures}"
    return CheckOutcome.PASSED, f"the benchmark ran on {seen} GPUs: {figures}"


async def _run(
    program: str, arguments: Sequence[str], gpu_uuids: Sequence[str], *, deadline_seconds: float, repair_id: str
) -> ToolResult:
    visible = ",".join(gpu_uuids)
    environment = {
        "PATH": ":".join(DIRECTORIES),
        "LANG": "C.UTF-8",
        "HOME": "/",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": visible,
        "ORQUANTA_GPU_UUIDS": visible,
        MARKER: repair_id,
    }
    argv = (sys.executable, "-I", "-m", program, *arguments)
    return await run_bounded(argv, environment, deadline_seconds, kill_if_cancelled=True)
