"""The scheduler: gives queued jobs their GPUs, and tells every waiting job what it waits for."""

from control_plane.agents.loop import Agent
from control_plane.fleet.placement.decide import Decision, decide
from control_plane.fleet.placement.snapshot import Snapshot, host_view
from control_plane.governor.governor import Governor
from control_plane.model.action import ActionState, PlaceJob, Proposal
from control_plane.model.ids import ACTION, JobId, NodeId, UserId, derived_id
from control_plane.model.job import AllocationState, JobState
from control_plane.model.node import NodeState
from control_plane.store import actions, allocations, jobs, nodes, users
from control_plane.store.database import Store, Tx

NAME = "scheduler_agent"


class Scheduler(Agent):
    """Event-driven: every committed change is a reason to look at the queue."""

    name = NAME

    def __init__(self, store: Store, governor: Governor, *, max_gpus_per_user: int) -> None:
        super().__init__(store)
        self._governor = governor
        self._max_gpus_per_user = max_gpus_per_user

    async def round(self) -> str:
        """Place what fits."""
        snapshot = await self._store.read(self._load)
        if snapshot is None:
            return ""
        decision = decide(snapshot)
        placed = await self._place(decision.placements)
        changed = _changed_reasons(snapshot, decision)
        if changed:
            await self._store.write(lambda tx: _explain(tx, changed))
        return f"placed {placed} of {len(snapshot.queue)} waiting jobs" if placed else ""

    def _load(self, tx: Tx) -> Snapshot | None:
        queue = jobs.queued(tx)
        # While everything is stopped, proposals would only be denied.
        if not queue or actions.kill_switch(tx).engaged:
            return None
        dependencies = {dependency for job in queue for dependency in job.spec.depends_on}
        held = allocations.holds(tx)
        gpus_held: dict[UserId, int] = {}
        for hold in held.values():
            gpus_held[hold.user_id] = gpus_held.get(hold.user_id, 0) + 1
        promised = _promised(tx)
        hosts = tuple(
            host_view(
                node,
                frozenset(held),
                promised_cpu_milli=promised.get(node.id, (0, 0))[0],
                promised_memory_bytes=promised.get(node.id, (0, 0))[1],
            )
            for node in nodes.active(tx)
            if node.state is NodeState.READY
        )
        limits: dict[UserId, int] = {}
        for user_id in {job.user_id for job in queue}:
            user = users.get(tx, user_id)
            own = None if user is None else user.max_gpus
            limits[user_id] = self._max_gpus_per_user if own is None else own
        return Snapshot(queue, hosts, jobs.states(tx, dependencies), gpus_held, limits)

    async def _place(self, placements: tuple[PlaceJob, ...]) -> int:
        placed = 0
        for effect in placements:
            action = await self._governor.propose(_proposal(effect, self._store.changes.newest))
            if action.state is ActionState.DONE:
                placed += 1
                self.count("placements")
            else:
                self.count("placements_refused")
        return placed


def _proposal(effect: PlaceJob, sequence: int) -> Proposal:
    return Proposal(
        # What was refused because it was stale may be right later, so the moment is part of the id.
        id=derived_id(ACTION, NAME, effect.job_id, str(effect.epoch), str(sequence)),
        effect=effect,
        proposer=NAME,
        reasoning=effect.reason,
        is_person=False,
        job_id=effect.job_id,
    )


def _promised(tx: Tx) -> dict[NodeId, tuple[int, int]]:
    """Return the CPU (thousandths of a core) and memory (bytes) that live members were promised, by node."""
    promised: dict[NodeId, tuple[int, int]] = {}
    for allocation in allocations.live(tx):
        job = jobs.require(tx, allocation.job_id, with_allocations=False)
        for member in allocation.members:
            if member.state is not AllocationState.ENDED:
                cpu_milli, memory_bytes = promised.get(member.node_id, (0, 0))
                promised[member.node_id] = (
                    cpu_milli + job.spec.resources.cpu_milli,
                    memory_bytes + job.spec.resources.memory_bytes,
                )
    return promised


def _changed_reasons(snapshot: Snapshot, decision: Decision) -> dict[JobId, str]:
    before = {job.id: job.status_reason for job in snapshot.queue}
    return {job_id: reason for job_id, reason in decision.reasons if before[job_id] != reason}


def _explain(tx: Tx, reasons: dict[JobId, str]) -> None:
    for job_id, reason in reasons.items():
        job = jobs.get(tx, job_id, with_allocations=False)
        if job is not None and job.state is JobState.QUEUED and job.status_reason != reason:
            jobs.update(tx, job_id, status_reason=reason)
