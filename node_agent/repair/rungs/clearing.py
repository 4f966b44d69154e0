"""Getting everybody off GPUs before a reset, a reload or a reboot: jobs, the daemon's own probes, services."""

from collections.abc import Sequence

from node_agent.repair.arguments import FABRIC_MANAGER
from node_agent.repair.errors import StepFailed
from node_agent.repair.hands import VIRTUALLY
from node_agent.repair.journal import Undo, UndoKind
from node_agent.repair.occupants import Occupants, find_occupants, jobs_on
from node_agent.repair.ports import HostJob, RepairGpu
from node_agent.repair.rungs.rung import Precondition
from node_agent.repair.text import listed
from node_agent.repair.toolbox import Action
from node_agent.repair.work import Work, names


def affected_jobs(work: Work, gpus: Sequence[RepairGpu] | None) -> tuple[HostJob, ...]:
    """Return the jobs on these GPUs, or all of the host if None."""
    uuids = None if gpus is None else [gpu.uuid for gpu in gpus]
    return jobs_on(work.parts.jobs.jobs(), uuids)


def no_jobs(work: Work, gpus: Sequence[RepairGpu] | None) -> Precondition:
    """No job is on the GPUs (on the host if None), or those that are may be stopped."""
    name = "no job on the host" if gpus is None else f"no job on {names(tuple(gpus))}"
    found = affected_jobs(work, gpus)
    ids = listed([job.job_id for job in found])
    if found and work.order.may_stop_jobs:
        return Precondition(name, True, f"{ids} would be stopped first, as the policy allows")
    if found:
        return Precondition(name, False, f"{ids} would be hurt: drain the node first, or wait for the end of the jobs")
    return Precondition(name, True, "none")


async def occupants_of(work: Work, gpus: Sequence[RepairGpu] | None) -> Occupants:
    """Return who has the GPUs open, jobs that are to be stopped apart. Raises StepFailed."""
    return await find_occupants(work.parts, _minors(gpus), repair_id=work.order.id, but=affected_jobs(work, gpus))


async def only_known_holders(work: Work, gpus: Sequence[RepairGpu] | None) -> list[Precondition]:
    """Everybody who has the GPUs open can be stopped and started again."""
    found = await occupants_of(work, gpus)
    conditions = [
        Precondition(
            "only services that can be stopped hold the GPUs",
            not found.strangers,
            f"{found.strangers_text} hold them: stop these by hand, or move them into a service of the list"
            if found.strangers
            else listed(list(found.services)) or "nobody holds them",
        )
    ]
    if found.unseen:
        detail = f"{found.unseen} processes cannot be looked into: run the daemon as root (CAP_SYS_PTRACE)"
        conditions.append(Precondition("all processes can be seen", False, detail))
    if found.services and (missing := work.parts.hands.missing(Action.STOP_SERVICE)):
        conditions.append(Precondition("services can be stopped", False, missing))
    if FABRIC_MANAGER in found.services and gpus is not None:
        conditions.append(no_jobs(work, None))
    return conditions


async def clearing_plan(work: Work, gpus: Sequence[RepairGpu] | None) -> list[str]:
    """Say what `clear` would do."""
    plan = [f"stop job {job.job_id}" for job in affected_jobs(work, gpus)]
    plan.append("release the handles of the daemon's own probes")
    found = await occupants_of(work, gpus)
    return plan + [work.parts.hands.describe(Action.STOP_SERVICE, service) for service in found.services]


async def clear(work: Work, gpus: Sequence[RepairGpu] | None) -> None:
    """Stop or release everybody, and make sure of it. What was stopped is started again by the undo."""
    parts = work.parts
    await stop_affected_jobs(work, gpus)
    await work.step(
        "release the daemon's own handles", lambda: _release(work), timeout_seconds=parts.limits.release_seconds
    )
    found = await occupants_of(work, gpus)
    if found.strangers:
        raise StepFailed(f"{found.strangers_text} hold the GPUs: stop these by hand")
    for service in found.services:
        await stop_service(work, service)
    await work.step("make sure that nobody holds the GPUs", lambda: _nobody(work, gpus))


async def stop_affected_jobs(work: Work, gpus: Sequence[RepairGpu] | None) -> None:
    """Stop the jobs that are on the GPUs (on the host if None), if they may be stopped; raises StepFailed if not."""
    jobs = affected_jobs(work, gpus)
    if not jobs:
        return
    if not work.order.may_stop_jobs:
        raise StepFailed(f"{listed([job.job_id for job in jobs])} came meanwhile: drain the node first")
    await work.step(
        f"stop {len(jobs)} jobs",
        lambda: _stop_jobs(work, jobs),
        timeout_seconds=work.parts.limits.stop_jobs_seconds,
    )


async def stop_service(work: Work, service: str) -> None:
    """Stop a service; that it must be started again is on the disk before."""
    await work.step(
        f"stop {service}",
        lambda: work.parts.hands.do(Action.STOP_SERVICE, service, repair_id=work.order.id),
        undo=Undo(UndoKind.START_SERVICE, service),
    )


async def _stop_jobs(work: Work, jobs: Sequence[HostJob]) -> str:
    await work.parts.jobs.stop(jobs, f"repair {work.order.id}: {work.order.rung.name}")
    return f"{listed([job.job_id for job in jobs])} have ended"


async def _release(work: Work) -> str:
    await work.parts.hardware.release()
    return "no probe of the daemon has a GPU open"


async def _nobody(work: Work, gpus: Sequence[RepairGpu] | None) -> str:
    found = await find_occupants(work.parts, _minors(gpus), repair_id=work.order.id)
    if found.services or found.strangers:
        raise StepFailed(f"{listed(list(found.services))} {found.strangers_text} still hold them".replace("  ", " "))
    return "nobody does" + (f" ({VIRTUALLY})" if work.parts.hardware.virtual is not None else "")


def _minors(gpus: Sequence[RepairGpu] | None) -> set[int] | None:
    return None if gpus is None else {gpu.minor_number for gpu in gpus if gpu.minor_number is not None}
