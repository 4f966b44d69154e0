"""The host's side of desired state: start what is wanted and never ran, stop what is not wanted, report the rest."""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from node_agent.clock import Clock
from node_agent.jobs.adoption import adopt
from node_agent.jobs.attendant import Attendant
from node_agent.jobs.elsewhere import Elsewhere
from node_agent.jobs.logs import JobLogs
from node_agent.jobs.member import Member
from node_agent.jobs.notices import NoticeSocket
from node_agent.jobs.roster import Roster
from node_agent.jobs.settings import RunnerSettings
from node_agent.jobs.spec import MemberKey, MemberSpec
from node_agent.jobs.starter import Starter
from node_agent.jobs.status import MemberStatus, Outcome

_DAEMON_LOCK = "daemon.lock"
_LOCK_SECONDS = 1.0
_LOCK_PAUSE_SECONDS = 0.05


class StateDirectoryBusyError(Exception):
    """Another daemon uses the state directory."""


class JobRunner:
    """Runs members on this host. An async context: entering it re-adopts what runs; leaving it leaves jobs running.

    A member runs at most once on a host, whatever is asked and whoever is killed: its directory is made before it
    starts and outlives it, and the directory's lock is held from before the supervisor starts until it is gone.
    """

    def __init__(self, settings: RunnerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._roster = roster = Roster(settings, clock)
        self._elsewhere: Elsewhere | None = None
        if settings.executor is not None:
            self._elsewhere = Elsewhere(settings.executor, is_followed=roster.is_followed, on_ended=self.look_again)
        self._attendant = Attendant(roster, self._elsewhere, self._spawn, self._start_what_waits)
        self._starter = Starter(roster, self._attendant, self._elsewhere)
        self._converging = asyncio.Lock()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def logs(self) -> JobLogs:
        """What the members have written."""
        return self._roster.logs

    async def __aenter__(self) -> Self:
        """Take the state directory and re-adopt. Raises StateDirectoryBusyError, OSError."""
        jobs_dir = self._settings.jobs_dir
        jobs_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._lock_fd = os.open(jobs_dir / _DAEMON_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await self._take_lock()
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._notices = NoticeSocket(jobs_dir, self._attendant.mark, self.logs.wake)
        self._roster.open()
        await self._group.__aenter__()
        self._notices.start()
        await adopt(self._roster, self._attendant, self._elsewhere, self._spawn)
        self._spawn(self._attendant.run())
        if self._elsewhere is not None:
            self._spawn(self._elsewhere.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching; jobs and their supervisors go on."""
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            self._notices.close()
            for member in self._roster.members.values():
                member.unwatch()
            os.close(self._lock_fd)

    async def converge(
        self,
        desired: Mapping[MemberKey, MemberSpec],
        rejected: Iterable[MemberStatus] = (),
        *,
        at_once: Collection[str] = (),
    ) -> None:
        """Make what runs match `desired`, the full list of members wanted here.

        Starts what was never started here, asks the rest to stop, and returns once supervisors stand; how it goes on
        shows in the statuses. A member waits while its GPUs or another attempt of its job are still busy here, and
        while the fence has passed. `rejected` are members whose specification was refused (see status.rejected).
        Allocations in `at_once` that are not wanted stop without time for a checkpoint: nothing takes up their work.
        """
        roster = self._roster
        async with self._converging:
            roster.desired = dict(desired)
            for status in rejected:
                if status.key not in roster.members and status.key not in roster.refused:
                    roster.refuse(status)
            roster.trim_refused()
            for key, member in list(roster.members.items()):
                if key not in roster.desired and not member.status.ended:
                    await self._stop(member, at_once=key.allocation_id in at_once)
                elif key in roster.desired and member.status.acknowledged:
                    # Wanted still, so the books have lost its end: a database that failed over, or a restored backup.
                    member.status = replace(member.status, acknowledged=False)
                    roster.publish(member.status)
            if self._elsewhere is not None:
                self._elsewhere.allow()
            await self._starter.start_missing()

    def statuses(self) -> dict[MemberKey, MemberStatus]:
        """Return every member that this host knows, until it is acknowledged and its retention is over."""
        return self._roster.statuses()

    def changes(self) -> AsyncGenerator[MemberStatus, None]:
        """Yield every known status, then each change; a reader that lags sees only the latest of each member."""
        return self._roster.changes()

    async def acknowledge(self, key: MemberKey) -> None:
        """Note that the control plane has the result of an ended member, which may now be forgotten in time."""
        roster = self._roster
        if roster.refused.pop(key, None) is not None:
            await roster.forget([key])
            return
        member = roster.members.get(key)
        if member is None or not member.status.ended or member.status.acknowledged:
            return
        if member.directory is None:
            await roster.forget([key])
            del roster.members[key]
            return
        await asyncio.to_thread(member.directory.acknowledge)
        member.status = replace(member.status, acknowledged=True)
        member.size_bytes = await asyncio.to_thread(member.directory.size_bytes)
        await roster.forget_expired()

    def set_fence(self, deadline_boottime_seconds: float) -> None:
        """Let jobs run until this CLOCK_BOOTTIME second and no further, with or without a daemon.

        Call it after every acknowledged heartbeat, and before `converge`. After the fence has passed, nothing is
        started before the next `converge`. Raises OSError when it cannot be written; the fence then stays where it was.
        """
        self._starter.set_fence(deadline_boottime_seconds)

    def extend_fence(self, deadline_boottime_seconds: float) -> None:
        """Let jobs run until this CLOCK_BOOTTIME second unless they may run for longer already; see `set_fence`."""
        self._starter.extend_fence(deadline_boottime_seconds)

    def use_gate(self, gate: Callable[[MemberSpec], str]) -> None:
        """Start nothing for which `gate` gives a reason, in words that follow "waits: ".

        Call `look_again` when it may give another answer.
        """
        self._starter.gate = gate

    def look_again(self) -> None:
        """Start what waits, if the gate lets it by now."""
        self._spawn(self._start_what_waits())

    def drop_waiting(self) -> None:
        """Start nothing that was ordered until now and waits: it needs another `converge`."""
        self._starter.drop_waiting()

    def supervisor_process_ids(self) -> dict[MemberKey, int]:
        """Return the supervisors of members that run."""
        found = {
            key: member.directory.read_supervisor()
            for key, member in self._roster.members.items()
            if member.live and member.directory is not None
        }
        return {key: supervisor.pid for key, supervisor in found.items() if supervisor is not None}

    async def stop_members(self, keys: Collection[MemberKey]) -> None:
        """Stop members, each with its own grace, whatever is desired; returns when they have ended."""
        members = self._roster.members
        async with aclosing(self.changes()) as changes:
            async with self._converging:
                for key in keys:
                    member = members.get(key)
                    if member is not None and not member.status.ended:
                        await self._stop(member)
            while any(key in members and not members[key].status.ended for key in keys):
                await anext(changes)

    def active_gpu_uuids(self) -> dict[str, MemberKey]:
        """Return the GPUs that are in use by members that run, are starting or are stopping; of sharers the last."""
        members = self._roster.members
        return {gpu: key for key, member in members.items() if member.live for gpu in member.spec.gpu_uuids}

    async def _take_lock(self) -> None:
        """Take the state directory. What a daemon that is gone was just starting may hold it for a moment longer."""
        deadline = self._clock.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if self._clock.monotonic() >= deadline:
                    raise StateDirectoryBusyError(
                        f"another daemon runs with {self._settings.state_dir}; "
                        "stop it, or give this one a directory of its own"
                    ) from error
                await asyncio.sleep(_LOCK_PAUSE_SECONDS)
            else:
                return

    async def _stop(self, member: Member, *, at_once: bool = False) -> None:
        if member.launched:
            member.request_stop(at_once=at_once)
            return
        message, now = "stopped before it started", self._clock.now()
        if member.directory is not None:
            fields = {"outcome": Outcome.STOPPED.value, "message": message, "ended_at": now.timestamp()}
            await asyncio.to_thread(member.directory.bury, fields)
        member.fail(Outcome.STOPPED, message, now)
        self._roster.publish(member.status)

    async def _start_what_waits(self) -> None:
        async with self._converging:
            await self._starter.start_missing()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
