"""STOP_PROCESS: ends the process that does the harm, and nothing else."""

import json
import os
from datetime import timedelta
from typing import Any, Final

from node_agent.health.model import Rung
from node_agent.repair import processes
from node_agent.repair.arguments import FABRIC_MANAGER, HOLDING_SERVICES
from node_agent.repair.ending import Named, end_process, is_gone
from node_agent.repair.errors import StepFailed
from node_agent.repair.holders import on_gpus
from node_agent.repair.model import Origin
from node_agent.repair.occupants import owners
from node_agent.repair.ports import HostJob, RepairGpu
from node_agent.repair.processes import Process
from node_agent.repair.rungs.rung import Conclusion, Precondition, Scope
from node_agent.repair.text import listed
from node_agent.repair.work import Work

_SLACK: Final = timedelta(seconds=2)
"""Between the kernel's clock ticks and the time of a line in its log."""
_TARGETS: Final = "targets"
MAXIMUM_PROCESSES: Final = 16


class StopProcess:
    """Stops processes that hold the GPU or that a condition names; a job's process is stopped by stopping the job."""

    rung = Rung.STOP_PROCESS
    timeout_seconds = 600.0

    def touched(self, work: Work) -> tuple[RepairGpu, ...] | None:  # noqa: ARG002 - the rung's shape
        """Nothing: other jobs may come and go."""
        return ()

    async def preconditions(self, work: Work) -> list[Precondition]:
        """Each process is one that may be stopped."""
        pids = work.order.process_ids
        if not 0 < len(pids) <= MAXIMUM_PROCESSES:
            detail = f"{len(pids)} are named; 1 to {MAXIMUM_PROCESSES} can be stopped"
            return [Precondition("processes are named", False, detail)]
        holding = await self._holding(work)
        return [self._may_stop(work, pid, holding) for pid in dict.fromkeys(pids)]

    async def plan(self, work: Work) -> list[str]:
        """Each process, or its job."""
        jobs = _jobs_of(work, work.order.process_ids)
        plan = [f"stop job {job.job_id}, whose processes they are" for job in jobs]
        for pid in dict.fromkeys(work.order.process_ids):
            process = processes.look(pid)
            if process is not None and not owners(pid, jobs):
                grace = work.parts.limits.terminate_seconds
                plan.append(f"SIGTERM to {process.name} (pid {pid}), SIGKILL after {grace:.0f} s if it stays")
        return [*(plan or ["nothing: the processes are gone already"]), "see that they are gone"]

    async def carry_out(self, work: Work) -> None:
        """Stop the jobs that own some of them, then the rest one by one."""
        jobs = _jobs_of(work, work.order.process_ids)
        found = [process for pid in dict.fromkeys(work.order.process_ids) if (process := processes.look(pid))]
        targets = [Named(process.pid, process.start_ticks) for process in found]
        await work.note(marks={_TARGETS: json.dumps([[target.pid, target.start_ticks] for target in targets])})
        owned = {target.pid for target in targets if owners(target.pid, jobs)}
        limits = work.parts.limits
        if jobs:
            await work.step(
                f"stop {listed([job.job_id for job in jobs])}",
                lambda: _stop_jobs(work, jobs),
                timeout_seconds=limits.stop_jobs_seconds,
            )
        for target in targets:
            if target.pid not in owned:
                await work.step(f"stop process {target.pid}", _ending(work, target))
        await work.step("see that they are gone", lambda: _all_gone(targets, limits.kill_seconds))

    async def conclude(self, work: Work) -> Conclusion:
        """What can be seen: whether the processes are gone."""
        marked = work.entry.marks.get(_TARGETS)
        if marked is None:
            return Conclusion(verify=False, message="it was cut off before anything was done")
        if work.record.boot_id != work.boot_id:
            return Conclusion(verify=True, message="the host restarted, so the processes are gone")
        left = [pid for pid, start_ticks in _read(marked) if processes.is_alive(pid, start_ticks)]
        if left:
            return Conclusion(verify=False, message=f"it was cut off; {listed([str(pid) for pid in left])} still runs")
        return Conclusion(verify=True, message="it was cut off; the processes are gone")

    def scope(self, work: Work) -> Scope:
        """The GPUs it was about, without load: nothing was done to them."""
        return Scope(work.targets() if work.order.gpu_uuids else (), load=False)

    @staticmethod
    async def _holding(work: Work) -> frozenset[int]:
        minors = {gpu.minor_number for gpu in work.targets() if gpu.minor_number is not None}
        return frozenset(holder.pid for holder in on_gpus(await work.parts.holders(), minors))

    @staticmethod
    def _may_stop(work: Work, pid: int, holding: frozenset[int]) -> Precondition:
        process = processes.look(pid)
        name = f"process {pid} may be stopped"
        if process is None:
            return Precondition(name, True, "it is gone already")
        whose = f"{process.name} (pid {pid})"
        if refusal := _protected(work, process):
            return Precondition(name, False, f"{whose} {refusal}")
        jobs = _jobs_of(work, (pid,))
        if jobs and work.order.origin is Origin.LOCAL_POLICY and not work.order.may_stop_jobs:
            return Precondition(name, False, f"{whose} belongs to {jobs[0].job_id}, and the policy spares jobs")
        if pid in holding:
            return Precondition(name, True, f"{whose} holds the GPU")
        return _named_by_condition(work, process, name, whose)


def _named_by_condition(work: Work, process: Process, name: str, whose: str) -> Precondition:
    wanted = set(work.order.condition_ids)
    naming = [
        condition
        for condition in work.parts.health.conditions()
        if condition.id in wanted and process.pid in condition.process_ids
    ]
    if not naming:
        return Precondition(name, False, f"{whose} neither holds the GPU nor is named by a condition of the order")
    started_at = processes.started_at(process)
    newest = max(condition.last_seen_at for condition in naming)
    if started_at is None or started_at > newest + _SLACK:
        return Precondition(name, False, f"{whose} started after the trouble: another process had this id then")
    return Precondition(name, True, f"{whose} is named by {naming[0].id}")


def _protected(work: Work, process: Process) -> str:
    """Say why a process is never stopped; empty if it may be."""
    own = work.parts.hardware.own_process_ids() | {os.getpid(), *processes.ancestors(os.getpid())}
    if process.pid == 1:
        return "is the host's first process"
    if process.kernel_thread:
        return "is a thread of the kernel"
    if process.pid in own:
        return "is the daemon's own"
    if process.pid in work.parts.jobs.protected_process_ids():
        return "is a job's supervisor: stop the job instead"
    unit = processes.unit_of(process.pid)
    if unit in HOLDING_SERVICES or unit == FABRIC_MANAGER:
        return f"is part of {unit}: restart the service instead"
    return ""


def _jobs_of(work: Work, pids: tuple[int, ...]) -> tuple[HostJob, ...]:
    jobs = work.parts.jobs.jobs()
    found = {job.allocation_id: job for pid in pids for job in owners(pid, jobs)}
    return tuple(found.values())


async def _stop_jobs(work: Work, jobs: tuple[HostJob, ...]) -> str:
    await work.parts.jobs.stop(jobs, f"repair {work.order.id}: their processes are to be stopped")
    return "ended"


def _ending(work: Work, target: Named) -> Any:  # Any: a coroutine function bound to one target
    limits = work.parts.limits

    async def end() -> str:
        return await end_process(target, terminate_seconds=limits.terminate_seconds, kill_seconds=limits.kill_seconds)

    return end


async def _all_gone(targets: list[Named], seconds: float) -> str:
    left = [target.pid for target in targets if not await is_gone(target, seconds)]
    if left:
        raise StepFailed(f"{listed([str(pid) for pid in left])} still runs")
    return "they are gone"


def _read(marked: str) -> list[tuple[int, int]]:
    try:
        return [(int(pid), int(start_ticks)) for pid, start_ticks in json.loads(marked)]
    except (ValueError, TypeError):
        return []
