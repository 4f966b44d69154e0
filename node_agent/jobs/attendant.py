"""Watches the supervisors of members, reads what they write, and buries what they leave."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from node_agent.jobs.directory import LockedError
from node_agent.jobs.elsewhere import Elsewhere
from node_agent.jobs.member import Member
from node_agent.jobs.recovery import destroy_left, recover
from node_agent.jobs.roster import Roster, Spawn
from node_agent.jobs.spec import MemberKey
from node_agent.jobs.status import Outcome

log = structlog.get_logger()

_SAFETY_SECONDS = 5.0  # every live member is looked at this often, in case a notice was lost
_RECHECK_SECONDS = 0.1  # a supervisor that is just starting is looked for this often


class Attendant:
    """Keeps the members' statuses up to date."""

    def __init__(
        self, roster: Roster, elsewhere: Elsewhere | None, spawn: Spawn, on_end: Callable[[], Awaitable[None]]
    ) -> None:
        """`on_end` is spawned after members have ended."""
        self._roster = roster
        self._elsewhere = elsewhere
        self._spawn = spawn
        self._on_end = on_end
        self._dirty: set[MemberKey] = set()
        self._dead: set[MemberKey] = set()
        self._wake = asyncio.Event()

    def attend(self, key: MemberKey, member: Member) -> None:
        """Watch the member's supervisor, or note that there is none to watch."""
        supervisor = member.directory.read_supervisor() if member.directory is not None else None
        if supervisor is not None and member.watch(supervisor, lambda: self._on_death(key, member)):
            self._dead.discard(key)
            if key not in self._roster.desired and member.stop_requested:
                member.stop_requested = False
                member.request_stop(at_once=member.stops_at_once)
        else:
            self._dead.add(key)

    def mark(self, key: MemberKey) -> None:
        """Have the member looked at soon."""
        self._dirty.add(key)
        self._wake.set()

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        members = self._roster.members
        while True:
            try:
                async with asyncio.timeout(_RECHECK_SECONDS if self._unsure() else _SAFETY_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._dirty |= {key for key, member in members.items() if member.live}
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            ended = [key for key in dirty if self._look_at(key)]
            if ended:
                self._spawn(self._tell_end())

    async def _tell_end(self) -> None:
        await self._on_end()

    def _on_death(self, key: MemberKey, member: Member) -> None:
        member.unwatch()
        member.seen_dying = True
        self._dead.add(key)
        self.mark(key)

    def _unsure(self) -> bool:
        members = self._roster.members
        return any(not members[key].recovering for key in self._dead if key in members)

    def _look_at(self, key: MemberKey) -> bool:
        """Bring one member up to date; say whether it has just ended."""
        member = self._roster.members.get(key)
        if member is None or not member.live:
            self._dead.discard(key)
            return False
        if member.recovering:
            return False
        try:
            before = member.status
            if self._is_deleted(key, member):
                member.recovering = True
                self._spawn(self._bury_deleted(key, member))
                return False
            gone = key in self._dead and member.directory is not None and not member.directory.locked
            member.refresh()  # after the lock was looked at: what a dead supervisor wrote last is now to be seen
            if member.status.ended:
                self._dead.discard(key)
                member.unwatch()
                log.info("job.ended", member=str(key), outcome=str(member.status.outcome))
            elif gone:
                member.recovering = True
                self._spawn(self._recover(key, member))
            elif key in self._dead:
                self.attend(key, member)
        except OSError as error:
            log.warning("job.unreadable", member=str(key), error=str(error))
            return False
        if member.status != before:
            self._roster.publish(member.status)
        if member.status.ended:
            self._roster.logs.wake(key)
        return member.status.ended

    def _is_deleted(self, key: MemberKey, member: Member) -> bool:
        """Tell whether the member's directory is gone, so that its end will never be known.

        A process of this host goes on to its end below its supervisor. What an engine of the site runs cannot: all that
        its client knows of it was in there. A disk that is not mounted any more is no deletion.
        """
        if member.directory is None or member.directory.path.exists():
            return False
        return key in self._dead or (self._elsewhere is not None and self._roster.settings.jobs_dir.exists())

    async def _bury_deleted(self, key: MemberKey, member: Member) -> None:
        log.warning("job.directory_deleted", member=str(key), todo="what is left of its job is killed")
        settings = self._roster.settings
        member.kill_supervisor()
        try:
            await self._roster.forget([key])
            await destroy_left(settings.jobs_dir, key, settings.cgroup_parent)
            if self._elsewhere is not None:
                await self._elsewhere.end(key)
        except OSError as error:
            log.warning("job.not_recovered", member=str(key), error=str(error))
            await asyncio.sleep(_SAFETY_SECONDS)  # the next round tries again
        else:
            member.directory = None
            message = "the job's directory was deleted while it ran, and its result with it; run it again"
            member.fail(Outcome.SUPERVISOR_LOST, message, self._roster.clock.now())
            member.unwatch()
            self._dead.discard(key)
            self._roster.publish(member.status)
            self._roster.logs.wake(key)
            self._spawn(self._tell_end())
        finally:
            member.recovering = False
            self.mark(key)

    async def _recover(self, key: MemberKey, member: Member) -> None:
        assert member.directory is not None
        log.warning("job.supervisor_lost", member=str(key))
        try:
            ordered = None if self._elsewhere is None else self._elsewhere.ordered
            await recover(member.directory, now=self._roster.clock.now(), watched=member.seen_dying, ordered=ordered)
        except LockedError:
            log.warning("job.supervisor_found", member=str(key))
        except OSError as error:
            log.warning("job.not_recovered", member=str(key), error=str(error))
            await asyncio.sleep(_SAFETY_SECONDS)  # a full disk, most likely: the next round tries again
        finally:
            member.recovering = False
            self.mark(key)
