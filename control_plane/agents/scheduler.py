"""The scheduler: gives queued jobs their GPUs, and tells every waiting job what it waits for."""

import asyncio
from dataclasses import dataclass, replace

from control_plane.agents.loop import Agent
from control_plane.fleet.placement.decide import decide
from control_plane.fleet.placement.snapshot import Snapshot, host_view
from control_plane.governor.governor import Governor
from control_plane.model.action import ActionState, PlaceJob, Proposal
from control_plane.model.ids import ACTION, JobId, UserId, derived_id
from control_plane.model.job import JobState
from control_plane.model.node import NodeState
from control_plane.store import actions, conditions, gpu_holds, jobs, nodes, users
from control_plane.store.database import Store, Tx
from control_plane.store.pages import batched

NAME = "scheduler_agent"
_LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A placement that the governor refused, how often before that, and from when on it may be proposed again."""

    times: int
    retry_at: float
    reason: str


class Scheduler(Agent):
    """Event-driven: every committed change is a reason to look at the queue."""

    name = NAME

    def __init__(self, store: Store, governor: Governor, *, max_gpus_per_user: int) -> None:
        super().__init__(store)
        self._governor = governor
        self._max_gpus_per_user = max_gpus_per_user
        self._refusals: dict[JobId, _Refusal] = {}

    async def round(self) -> str:
        """Place what fits."""
        snapshot = await self._store.read(self._load)
        if snapshot is None:
            return ""
        self._refusals = {job.id: self._refusals[job.id] for job in snapshot.queue if job.id in self._refusals}
        now = self._store.clock.monotonic()
        held_back = {job_id: one.reason for job_id, one in self._refusals.items() if one.retry_at > now}
        decision = decide(replace(snapshot, queue=tuple(job for job in snapshot.queue if job.id not in held_back)))
        placed = await self._place(decision.placements)
        reasons = {**dict(decision.reasons), **held_back}
        changed = {
            job.id: reasons[job.id]
            for job in snapshot.queue
            if job.id in reasons and reasons[job.id] != job.status_reason
        }
        if changed:
            await self._store.write(lambda tx: _explain(tx, changed))
        return f"placed {placed} of {len(snapshot.queue)} waiting jobs" if placed else ""

    def _load(self, tx: Tx) -> Snapshot | None:
        queue = jobs.queued(tx)
        # While everything is stopped, proposals would only be denied.
        if not queue or actions.kill_switch(tx).engaged:
            return None
        dependencies = {dependency for job in queue for dependency in job.spec.depends_on}
        held = gpu_holds.holds(tx)
        gpus_held: dict[UserId, int] = {}
        for hold in held.values():
            gpus_held[hold.user_id] = gpus_held.get(hold.user_id, 0) + 1
        promised = jobs.promised(tx)
        unwell, closed = conditions.gpu_health(tx), conditions.closed_hosts(tx)
        hosts = tuple(
            host_view(
                node,
                frozenset(held),
                promised_cpu_milli=promised.get(node.id, (0, 0))[0],
                promised_memory_bytes=promised.get(node.id, (0, 0))[1],
                unwell=unwell.get(node.id, {}),
            )
            for node in nodes.active(tx)
            if node.state is NodeState.READY and node.connected and node.id not in closed
        )
        limits: dict[UserId, int] = {}
        for user_id in {job.user_id for job in queue}:
            user = users.get(tx, user_id)
            own = None if user is None else user.max_gpus
            limits[user_id] = self._max_gpus_per_user if own is None else own
        return Snapshot(queue, hosts, jobs.states(tx, dependencies), gpus_held, limits)

    async def _place(self, placements: tuple[PlaceJob, ...]) -> int:
        placed = 0
        for batch in batched(placements):  # proposals that wait at the same time share a commit
            actions = await asyncio.gather(
                *(self._governor.propose(_proposal(one, self._store.changes.newest)) for one in batch)
            )
            for effect, action in zip(batch, actions, strict=True):
                if action.state is ActionState.DONE:
                    placed += 1
                    self._refusals.pop(effect.job_id, None)
                    self.count("placements")
                else:
                    self._refuse(effect.job_id, action.outcome)
                    self.count("placements_refused")
        return placed

    def _refuse(self, job_id: JobId, outcome: str) -> None:
        """Try again at once, for the world has moved; then ever later, so that a lasting refusal floods no books."""
        times = self._refusals[job_id].times + 1 if job_id in self._refusals else 0
        pause = 0.0 if times == 0 else min(2.0 ** (times - 1), _LONGEST_PAUSE_SECONDS)
        self._refusals[job_id] = _Refusal(times, self._store.clock.monotonic() + pause, f"waits: {outcome}")


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


def _explain(tx: Tx, reasons: dict[JobId, str]) -> None:
    for job_id, reason in reasons.items():
        job = jobs.get(tx, job_id, with_allocations=False)
        if job is not None and job.state is JobState.QUEUED and job.status_reason != reason:
            jobs.update(tx, job_id, status_reason=reason)
