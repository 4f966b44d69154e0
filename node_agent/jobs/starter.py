"""Starts what is wanted here and never ran here, as soon as nothing is in its way."""

import asyncio
from collections.abc import Callable

import structlog

from node_agent.jobs.attendant import Attendant
from node_agent.jobs.container import NoEngineError
from node_agent.jobs.directory import LockedError, MemberDirectory, prepare
from node_agent.jobs.elsewhere import Elsewhere
from node_agent.jobs.member import Member
from node_agent.jobs.proc import boot_id, boottime_seconds
from node_agent.jobs.roster import Roster
from node_agent.jobs.spec import MemberSpec
from node_agent.jobs.status import Outcome, never_started, waiting
from node_agent.jobs.supervisor.fence import read_fence, write_fence

log = structlog.get_logger()


class Starter:
    """Starts members. A member waits while its GPUs or another attempt of its job are still busy here."""

    def __init__(self, roster: Roster, attendant: Attendant, elsewhere: Elsewhere | None) -> None:
        self._roster = roster
        self._attendant = attendant
        self._elsewhere = elsewhere
        self._slots = asyncio.Semaphore(roster.settings.parallel_starts)
        self._fence_file = str(roster.settings.fence_file)
        self._boot_id = boot_id()
        self.gate: Callable[[MemberSpec], str] = lambda _: ""

    def set_fence(self, deadline_boottime_seconds: float) -> None:
        """Write the fence; drop what waits if it had passed. Raises OSError."""
        was_closed = self._fence_has_passed()
        write_fence(self._fence_file, self._boot_id, deadline_boottime_seconds)
        if was_closed:
            self.drop_waiting()  # it was ordered before: by now it may run on another host

    def extend_fence(self, deadline_boottime_seconds: float) -> None:
        """Write the fence, unless it stands later already. Raises OSError."""
        deadline = read_fence(self._fence_file, self._boot_id)
        if deadline is None or deadline < deadline_boottime_seconds:
            self.set_fence(deadline_boottime_seconds)

    def drop_waiting(self) -> None:
        """Start nothing that was ordered until now and waits."""
        members, desired = self._roster.members, self._roster.desired
        self._roster.desired = {key: spec for key, spec in desired.items() if key in members and members[key].launched}

    async def start_missing(self) -> None:
        """Start what is wanted, did not run yet, and need not wait; returns once supervisors stand."""
        roster = self._roster
        ready: list[Member] = []
        for key, spec in roster.desired.items():
            if key in roster.refused:
                continue
            if key not in roster.members and key in roster.forgotten:
                if self._elsewhere is None or not self._elsewhere.is_ending(key):
                    message = (
                        "it ran on this host before, and its result is no longer kept here; it is not started again"
                    )
                    roster.refuse(never_started(spec, Outcome.SUPERVISOR_LOST, message, roster.clock.now()))
                continue
            if key not in roster.members:
                roster.members[key] = Member(spec, None)
            member = roster.members[key]
            if member.launched or member.status.ended:
                continue
            reason = self._what_it_waits_for(member)
            if reason:
                if member.status.message != reason:
                    member.status = waiting(spec, reason)
                    roster.publish(member.status)
                continue
            member.launched = True
            ready.append(member)
        async with asyncio.TaskGroup() as starts:
            for member in ready:
                starts.create_task(self._launch(member))

    def _what_it_waits_for(self, member: Member) -> str:
        if self._fence_has_passed():
            return "waits: this host has had no answer from its control plane for too long"
        if reason := self.gate(member.spec):
            return f"waits: {reason}"
        if self._elsewhere is not None and self._elsewhere.is_ending(member.spec.key):
            return "waits: the site's engine has not ended yet what ran under its name before"
        for key, other in self._roster.members.items():
            if not other.live:
                continue
            if other.spec.job_id == member.spec.job_id and key.allocation_id != member.spec.allocation_id:
                return f"waits: {key}, another attempt of this job, has not ended on this host yet"
            if shared := _in_the_way(member.spec, other.spec):
                return f"waits: {key} still holds {', '.join(sorted(shared))}"
        return ""

    async def _launch(self, member: Member) -> None:
        roster, key = self._roster, member.spec.key
        async with self._slots:
            try:
                if member.directory is None:
                    member.directory = await asyncio.to_thread(prepare, member.spec, roster.settings)
                await asyncio.to_thread(member.directory.launch)
            except NoEngineError as error:
                member.fail(Outcome.START_FAILED, str(error), roster.clock.now())
            except FileExistsError:
                member.directory = MemberDirectory(roster.settings.jobs_dir / str(key))
            except LockedError:
                log.info("job.already_supervised", member=str(key))
            except OSError as error:
                await self._cannot_start(member, error)
        if member.status.outcome is Outcome.START_FAILED:
            log.warning("job.start_failed", member=str(key), reason=member.status.message)
            roster.publish(member.status)
            return
        log.info("job.started", member=str(key), job_id=member.spec.job_id, epoch=member.spec.epoch)
        self._attendant.attend(key, member)
        self._attendant.mark(key)

    async def _cannot_start(self, member: Member, error: OSError) -> None:
        now = self._roster.clock.now()
        message = f"this host could not start the job: {error}; look at its disk, memory and process limits"
        fields = {"outcome": Outcome.START_FAILED.value, "message": message, "ended_at": now.timestamp()}
        if member.directory is not None:
            try:
                await asyncio.to_thread(member.directory.bury, fields)
            except LockedError:
                return  # a supervisor lives after all
            except OSError as trouble:
                log.warning("job.not_buried", member=str(member.spec.key), error=str(trouble))
        member.fail(Outcome.START_FAILED, message, now)

    def _fence_has_passed(self) -> bool:
        deadline = read_fence(self._fence_file, self._boot_id)
        return deadline is not None and boottime_seconds() >= deadline


def _in_the_way(wanted: MemberSpec, other: MemberSpec) -> set[str]:
    """Return the GPUs that both want, unless each is content with a part: how many parts fit is decided elsewhere."""
    if wanted.gpu_milli and other.gpu_milli:
        return set()
    return set(wanted.gpu_uuids) & set(other.gpu_uuids)
