"""The fleet and the queue in memory. A change costs what it changes, whatever the size of either."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from control_plane.fleet.placement.history import History
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.placement.room import Claim, Host
from control_plane.fleet.queueing.figures import TeamFigures
from control_plane.fleet.queueing.model import QueueDecision, QueueTerms, Standing, WaitingJob
from control_plane.fleet.queueing.queue import Queue
from control_plane.model.ids import AllocationId, JobId, NodeId
from control_plane.scheduling.reading import Changes, Everything, JobNow
from control_plane.scheduling.values import REFUSED, Rights

_Key = TypeVar("_Key", bound=str)


class World:
    """Hosts, what is held on them, and who waits. Used by one thread at a time."""

    def __init__(
        self, read: Everything, *, terms: QueueTerms, packing: PackingPolicy, history: History | None = None
    ) -> None:
        self.sequence = read.sequence
        self.rights: Rights = read.rights
        self.hosts: dict[NodeId, Host] = {host.node_id: host for host in read.hosts}
        self.room = Hosts(read.hosts, policy=packing, history=history)
        self.queue = Queue(terms)
        self.room.expect(lambda: (job.resources for job in self.queue.jobs().values()))
        self.reasons: dict[JobId, str] = {}
        self.dependents: dict[JobId, set[JobId]] = {}
        self._depends_on: dict[JobId, tuple[JobId, ...]] = {}
        self.refused: dict[JobId, str] = {}  # of the reasons, those that say so
        self.attempts: dict[JobId, AllocationId] = {}
        self._spared: dict[AllocationId, datetime] = {}
        self._arrived: list[WaitingJob] = []
        for job in read.jobs:
            self._take(job)
        self.queue.see(read.hosts)

    def apply(self, changes: Changes) -> bool:
        """Take what has changed; return whether anything that decides who starts is another than before."""
        self.sequence = changes.sequence
        seen = False
        for node_id, host in changes.hosts.items():
            if host == self.hosts.get(node_id):
                continue
            seen = True
            if host is None:
                del self.hosts[node_id]
                self.room.drop_host(node_id)
            else:
                self.hosts[node_id] = host
                self.room.put_host(host)
        moved = [self._take(job) for job in changes.jobs]
        rights = changes.rights or self.rights
        differs = seen or any(moved) or rights != self.rights
        self.rights = rights
        if seen:
            self.queue.see(tuple(self.hosts.values()))
        return differs

    def decide(self, now: datetime, held_back: Mapping[JobId, str]) -> QueueDecision:
        """Return who starts and who makes way now."""
        return self.queue.decide(self.room, self.rights.teams, self.rights.limits, now=now, held_back=held_back)

    def standings(
        self, now: datetime, held_back: Mapping[JobId, str], *, limit: int | None = None
    ) -> tuple[Standing, ...]:
        """Return the queue in the order in which it is served, or its head, and what each job waits for."""
        return self.queue.standings(
            self.room, self.rights.teams, self.rights.limits, now=now, held_back=held_back, limit=limit
        )

    def quotas(self) -> tuple[TeamFigures, ...]:
        """Return what every team holds, has borrowed and waits for, by path."""
        return self.queue.quotas(self.room, self.rights.teams)

    def arrived(self) -> tuple[WaitingJob, ...]:
        """Return the jobs that came into the queue since this was last asked."""
        found, self._arrived = tuple(self._arrived), []
        return found

    def claim_of(self, job_id: JobId) -> Claim | None:
        """Return what a job holds, None if nothing."""
        attempt = self.attempts.get(job_id)
        return None if attempt is None else self.room.claims().get(attempt)

    def spare(self, allocation_id: AllocationId, until: datetime) -> None:
        """Have an attempt not make way before a moment: the governor has refused it."""
        claim = self.room.claims().get(allocation_id)
        if claim is not None:
            self._spared[allocation_id] = until
            self.room.adopt(self._as_spared(claim))

    def _take(self, job: JobNow) -> bool:
        """Take a job as it is now; return whether it waits or holds otherwise than before."""
        self._await(job.job_id, job.depends_on)
        waited = self.queue.jobs().get(job.job_id)
        if job.waiting is None:
            self.queue.drop(job.job_id)
            self._told(job.job_id, None)
        else:
            if job.waiting != waited:
                self.queue.put(job.waiting)
                if waited is None and job.waiting.epoch == 0:
                    self._arrived.append(job.waiting)
            self._told(job.job_id, job.status_reason)
        return self._hold(job.job_id, job.claim) or job.waiting != waited

    def _told(self, job_id: JobId, reason: str | None) -> None:
        """Note what a job is told that it waits for; None if it does not wait."""
        self.reasons.pop(job_id, None)
        self.refused.pop(job_id, None)
        if reason is not None:
            self.reasons[job_id] = reason
            if reason.startswith(REFUSED):
                self.refused[job_id] = reason

    def _hold(self, job_id: JobId, claim: Claim | None) -> bool:
        earlier = self.attempts.get(job_id)
        gone = earlier is not None and (claim is None or claim.allocation_id != earlier)
        if earlier is not None and gone:
            self.room.drop(earlier)
            self._spared.pop(earlier, None)
            del self.attempts[job_id]
        if claim is None:
            return gone
        wanted = self._as_spared(claim)
        self.attempts[job_id] = claim.allocation_id
        if self.room.claims().get(claim.allocation_id) == wanted:
            return gone
        self.room.adopt(wanted)
        return True

    def _as_spared(self, claim: Claim) -> Claim:
        until = self._spared.get(claim.allocation_id)
        if until is None or (claim.protected_until is not None and claim.protected_until >= until):
            return claim
        return replace(claim, protected_until=until)

    def _await(self, job_id: JobId, depends_on: tuple[JobId, ...]) -> None:
        """Remember whom a job waits for: it changes when they do."""
        for one in self._depends_on.pop(job_id, ()):
            self.dependents[one].discard(job_id)
            if not self.dependents[one]:
                del self.dependents[one]
        if depends_on:
            self._depends_on[job_id] = each = tuple(dict.fromkeys(depends_on))
            for one in each:
                self.dependents.setdefault(one, set()).add(job_id)


def differences(world: World, read: Everything) -> Collection[str]:
    """Return in words where memory and the store differ, which they never should; for a person."""
    found = []
    stored_hosts = {host.node_id: host for host in read.hosts}
    found += [f"host {one}" for one in _differing(world.hosts, stored_hosts)]
    claims = {job.claim.allocation_id: job.claim for job in read.jobs if job.claim is not None}
    # What spares an attempt is known to memory alone.
    held = {key: replace(claim, protected_until=None) for key, claim in world.room.claims().items()}
    found += [
        f"attempt {one}"
        for one in _differing(held, {key: replace(claim, protected_until=None) for key, claim in claims.items()})
    ]
    waiting = {job.waiting.job_id: job.waiting for job in read.jobs if job.waiting is not None}
    found += [f"job {one}" for one in _differing(world.queue.jobs(), waiting)]
    if world.rights != read.rights:
        found.append("what teams and accounts may hold")
    return found


def _differing(one: Mapping[_Key, object], other: Mapping[_Key, object]) -> list[str]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
