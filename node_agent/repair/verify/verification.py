"""The verification after a repair: readings, load, readings again, and what turned up meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from node_agent.health.model import Condition, Severity
from node_agent.repair.errors import StillGoingOn
from node_agent.repair.model import CheckOutcome
from node_agent.repair.occupants import jobs_on
from node_agent.repair.ports import Reading, RepairGpu
from node_agent.repair.rungs.rung import Scope
from node_agent.repair.text import listed
from node_agent.repair.verify import readings
from node_agent.repair.verify.children import CUDA_CHECKS, Finding, canary, cuda_checks
from node_agent.repair.work import Work

_AT_ONCE: Final = 4
"""GPUs under CUDA's tests at once: each test takes a core."""
_WORST: Final = (CheckOutcome.FAILED, CheckOutcome.NOT_CHECKED, CheckOutcome.PASSED)


async def verify(work: Work, scope: Scope) -> tuple[bool, str]:
    """Check all that can be checked; return whether nothing failed, and a line for a person.

    Raises StillGoingOn when the daemon is to stop: the next one verifies again.
    """
    first = len(work.record.checks)
    before = await _read(work)
    seen = {condition.id: condition.count for condition in work.parts.health.conditions()}
    await work.check("nvml", _found(lambda: readings.nvml_sanity(scope.gpus, before)))
    if scope.load:
        await _load(work, scope, before)
    after = await _read(work)
    if scope.gpus:
        await work.check("ecc", _found(lambda: readings.ecc(scope.gpus, before, after)))
        await work.check("pcie", _found(lambda: readings.pcie(scope.gpus, before, after)))
        await work.check("nvlink", _found(lambda: readings.nvlink(scope.gpus, before, after)))
        if scope.load:
            await work.check("nvml_after_load", _found(lambda: readings.nvml_sanity(scope.gpus, after)))
    await work.check("conditions", _found(lambda: _fresh_trouble(work, scope, seen)))
    checks = work.record.checks[first:]
    failed = [check.name for check in checks if check.outcome is CheckOutcome.FAILED]
    open_ = [check.name for check in checks if check.outcome is CheckOutcome.NOT_CHECKED]
    if failed:
        return False, f"verification failed: {', '.join(failed)}"
    passed = len(checks) - len(open_)
    return True, f"{passed} checks passed" + (f"; not checked: {', '.join(open_)}" if open_ else "")


async def _load(work: Work, scope: Scope, before: Reading) -> None:
    busy = {uuid for job in work.parts.jobs.jobs() for uuid in job.gpu_uuids}
    free = [gpu for gpu in scope.gpus if gpu.uuid not in busy]
    virtual = work.parts.hardware.virtual is not None
    obstacle = ""
    if scope.gpus and not free:
        jobs = jobs_on(work.parts.jobs.jobs(), [gpu.uuid for gpu in scope.gpus])
        obstacle = f"jobs work on the GPUs: {listed([job.job_id for job in jobs])}"
    elif scope.gpus and before.nvml_error is not None:
        obstacle = "NVML does not answer, so the GPUs were not loaded"
    await _cuda(work, free, obstacle or ("the GPUs are virtual: they have no CUDA runtime" if virtual else ""))
    if work.interrupted.is_set():
        raise StillGoingOn("the daemon is stopped in the midst of the verification")
    limits = work.parts.limits

    async def run_canary() -> Finding:
        if obstacle:
            return CheckOutcome.NOT_CHECKED, obstacle
        return await canary(
            [gpu.uuid for gpu in free],
            virtual=virtual,
            seconds=limits.canary_seconds,
            deadline_seconds=limits.canary_deadline_seconds,
            repair_id=work.order.id,
        )

    await work.check("canary", run_canary)
    if work.interrupted.is_set():
        raise StillGoingOn("the daemon is stopped in the midst of the verification")


async def _cuda(work: Work, gpus: Sequence[RepairGpu], obstacle: str) -> None:
    """Test all GPUs, some at once, and add one check for each kind of test."""
    found: dict[str, Mapping[str, Finding]] = {}
    limits = work.parts.limits
    slots = asyncio.Semaphore(_AT_ONCE)

    async def test(gpu: RepairGpu) -> None:
        async with slots:
            found[gpu.uuid] = await cuda_checks(
                gpu.uuid,
                seconds=limits.cuda_seconds,
                deadline_seconds=limits.cuda_deadline_seconds,
                repair_id=work.order.id,
            )

    async def first() -> Finding:
        if not obstacle and gpus:
            async with asyncio.TaskGroup() as group:
                for gpu in gpus:
                    group.create_task(test(gpu))
        return _together(CUDA_CHECKS[0], gpus, found, obstacle)

    await work.check(CUDA_CHECKS[0], first)
    for name in CUDA_CHECKS[1:]:
        await work.check(name, _found(lambda name=name: _together(name, gpus, found, obstacle)))  # type: ignore[misc] # the default binds the loop's value


def _together(
    name: str, gpus: Sequence[RepairGpu], found: Mapping[str, Mapping[str, Finding]], obstacle: str
) -> Finding:
    """Return the worst outcome of all GPUs, with each GPU's detail, or one detail if all say the same."""
    if obstacle or not gpus:
        return CheckOutcome.NOT_CHECKED, obstacle or "the host has no GPUs"
    each = [(gpu.identity.index, *found[gpu.uuid][name]) for gpu in gpus if gpu.uuid in found]
    outcomes = {outcome for _, outcome, _ in each}
    worst = next((outcome for outcome in _WORST if outcome in outcomes), CheckOutcome.NOT_CHECKED)
    details = {detail for _, _, detail in each}
    if len(details) == 1:
        return worst, details.pop()
    return worst, "; ".join(f"GPU {index}: {detail}" for index, outcome, detail in each if outcome is worst)


def _fresh_trouble(work: Work, scope: Scope, seen: Mapping[str, int]) -> Finding:
    """Find conditions that came, or were seen again, since the verification began: counts, for clocks jump."""
    uuids = {gpu.uuid for gpu in scope.gpus}
    meant = set(work.order.condition_ids)
    fresh = [
        condition
        for condition in work.parts.health.conditions()
        if condition.severity is Severity.FATAL
        and (condition.gpu_uuid in uuids or condition.id in meant)
        and _is_fresh(condition, seen)
    ]
    if fresh:
        return CheckOutcome.FAILED, f"seen meanwhile: {listed([condition.id for condition in fresh])}"
    return CheckOutcome.PASSED, "no fatal trouble was seen meanwhile"


def _is_fresh(condition: Condition, seen: Mapping[str, int]) -> bool:
    return condition.count > seen.get(condition.id, 0)


async def _read(work: Work) -> Reading:
    try:
        async with asyncio.timeout(work.parts.limits.read_seconds):
            return await work.parts.hardware.read()
    except TimeoutError:
        return Reading(nvml_error=f"no answer within {work.parts.limits.read_seconds:.0f} s")
    except Exception as error:  # noqa: BLE001 - a probe that breaks is a finding
        return Reading(nvml_error=f"the probe failed: {error!r}")


def _found(look: Callable[[], Finding]) -> Callable[[], Awaitable[Finding]]:
    """Turn a pure look into what `Work.check` awaits."""

    async def looked() -> Finding:
        return look()

    return looked
