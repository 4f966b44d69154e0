"""Who holds the GPUs of a repair, and whether each of them may be stopped for it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from node_agent.repair import processes
from node_agent.repair.arguments import FABRIC_MANAGER, HOLDING_SERVICES
from node_agent.repair.holders import Holder, on_gpus, service_of
from node_agent.repair.parts import Parts
from node_agent.repair.ports import HostJob
from node_agent.repair.text import listed

STOP_ORDER = (*HOLDING_SERVICES, FABRIC_MANAGER)


@dataclass(frozen=True, slots=True)
class Occupants:
    """The processes that have GPUs open, without the daemon's own."""

    services: tuple[str, ...]
    """Services of the fixed list, in the order in which they are stopped."""
    strangers: tuple[Holder, ...]
    """Processes that nobody may stop."""
    unseen: int
    """Processes that could not be looked into."""

    @property
    def strangers_text(self) -> str:
        """The strangers for a person."""
        return listed([_described(holder) for holder in self.strangers])


def _described(holder: Holder) -> str:
    place = processes.place_of(holder.pid)
    return f"{holder.name} (pid {holder.pid}{', ' if place else ''}{place})"


async def find_occupants(
    parts: Parts, minor_numbers: Collection[int] | None, *, repair_id: str, but: Sequence[HostJob] = ()
) -> Occupants:
    """Look who has these GPUs open, or any device of the driver if None. Raises StepFailed if it cannot be told.

    Processes of the jobs in `but` are not counted: they are to be stopped.
    """
    found = await parts.holders()
    own = parts.hardware.own_process_ids()
    chosen = found.holders if minor_numbers is None else on_gpus(found, minor_numbers)
    others = [holder for holder in chosen if holder.pid not in own and not owners(holder.pid, but)]
    services: set[str] = set()
    strangers = []
    main_pids = await parts.hands.main_processes(STOP_ORDER, repair_id=repair_id) if others else {}
    for holder in others:
        service = service_of(holder, main_pids)
        if service:
            services.add(service)
        else:
            strangers.append(holder)
    return Occupants(
        services=tuple(name for name in STOP_ORDER if name in services),
        strangers=tuple(strangers),
        unseen=found.unseen,
    )


def owners(pid: int, jobs: Sequence[HostJob]) -> tuple[HostJob, ...]:
    """Return the jobs that a process belongs to: it, or a parent of it, is one of theirs."""
    if not jobs:
        return ()
    line = {pid, *processes.ancestors(pid)}
    return tuple(job for job in jobs if line & job.process_ids)


def jobs_on(jobs: Sequence[HostJob], gpu_uuids: Collection[str] | None) -> tuple[HostJob, ...]:
    """Return the jobs on these GPUs, or all of the host if None."""
    wanted = None if gpu_uuids is None else set(gpu_uuids)
    return tuple(job for job in jobs if wanted is None or wanted & set(job.gpu_uuids))
