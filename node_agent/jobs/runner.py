"""The host's side of desired state: start what is wanted and never ran, stop what is not wanted, report the rest."""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import structlog

from node_agent.clock import Clock
from node_agent.jobs import retention
from node_agent.jobs.container import NoEngineError
from node_agent.jobs.directory import LockedError, MemberDirectory, prepare, scan
from node_agent.jobs.feed import StatusFeed
from node_agent.jobs.logs import JobLogs
from node_agent.jobs.member import Member
from node_agent.jobs.notices import NoticeSocket
from node_agent.jobs.proc import boot_id, boottime_seconds
from node_agent.jobs.recovery import destroy, destroy_orphan, orphans, recover
from node_agent.jobs.settings import RunnerSettings
from node_agent.jobs.spec import MemberKey, MemberSpec
from node_agent.jobs.status import MemberState, MemberStatus, Outcome, never_started, waiting
from node_agent.jobs.supervisor.fence import read_fence, write_fence

log = structlog.get_logger()

_SAFETY_SECONDS = 5.0  # every live member is looked at this often, in case a notice was lost
_RECHECK_SECONDS = 0.1  # a supervisor that is just starting is looked for this often
_MAX_REFUSED = 10_000
_DAEMON_LOCK = "daemon.lock"


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
        self._members: dict[MemberKey, Member] = {}
        self._refused: dict[MemberKey, MemberStatus] = {}
        self._desired: dict[MemberKey, MemberSpec] = {}
        self._dirty: set[MemberKey] = set()
        self._dead: set[MemberKey] = set()
        self._wake = asyncio.Event()
        self._converging = asyncio.Lock()
        self._start_slots = asyncio.Semaphore(settings.parallel_starts)
        self._feeds: set[StatusFeed] = set()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate: Callable[[MemberSpec], str] = lambda _: ""
        self.logs = JobLogs(settings.jobs_dir, self._is_ended)

    async def __aenter__(self) -> Self:
        """Take the state directory and re-adopt. Raises StateDirectoryBusyError, OSError."""
        jobs_dir = self._settings.jobs_dir
        jobs_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._lock_fd = os.open(jobs_dir / _DAEMON_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock_fd)
            raise StateDirectoryBusyError(
                f"another daemon runs with {self._settings.state_dir}; stop it, or give this one a directory of its own"
            ) from error
        self._notices = NoticeSocket(jobs_dir, self._mark, self.logs.wake)
        self._forgotten = retention.Forgotten(jobs_dir)
        await self._group.__aenter__()
        self._notices.start()
        await self._adopt()
        self._spawn(self._watch())
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
            for member in self._members.values():
                member.unwatch()
            os.close(self._lock_fd)

    # What the daemon asks.

    async def converge(self, desired: Mapping[MemberKey, MemberSpec], rejected: Iterable[MemberStatus] = ()) -> None:
        """Make what runs match `desired`, the full list of members wanted here.

        Starts what was never started here, asks the rest to stop, and returns once supervisors stand; how it goes on
        shows in the statuses. A member waits while its GPUs or another attempt of its job are still busy here, and
        while the fence has passed. `rejected` are members whose specification was refused (see status.rejected).
        """
        async with self._converging:
            self._desired = dict(desired)
            for status in rejected:
                if status.key not in self._members and status.key not in self._refused:
                    self._refused[status.key] = status
                    self._publish(status)
            for key in list(self._refused)[:-_MAX_REFUSED]:
                del self._refused[key]
            for key, member in list(self._members.items()):
                if key not in self._desired and not member.status.ended:
                    await self._stop(member)
                elif key in self._desired and member.status.acknowledged:
                    # Wanted still, so the books have lost its end: a database that failed over, or a restored backup.
                    member.status = replace(member.status, acknowledged=False)
                    self._publish(member.status)
            await self._start_missing()

    def statuses(self) -> dict[MemberKey, MemberStatus]:
        """Return every member that this host knows, until it is acknowledged and its retention is over."""
        return {**self._refused, **{key: member.current() for key, member in self._members.items()}}

    async def changes(self) -> AsyncGenerator[MemberStatus, None]:
        """Yield every known status, then each change; a reader that lags sees only the latest of each member."""
        feed = StatusFeed(self.statuses().values())
        self._feeds.add(feed)
        try:
            while True:
                yield await feed.get()
        finally:
            self._feeds.discard(feed)

    async def acknowledge(self, key: MemberKey) -> None:
        """Note that the control plane has the result of an ended member, which may now be forgotten in time."""
        if self._refused.pop(key, None) is not None:
            await asyncio.to_thread(self._forgotten.add, [key])
            return
        member = self._members.get(key)
        if member is None or not member.status.ended or member.status.acknowledged:
            return
        if member.directory is None:
            await asyncio.to_thread(self._forgotten.add, [key])
            del self._members[key]
            return
        await asyncio.to_thread(member.directory.acknowledge)
        member.status = replace(member.status, acknowledged=True)
        member.size_bytes = await asyncio.to_thread(member.directory.size_bytes)
        await self._forget_expired()

    def set_fence(self, deadline_boottime_seconds: float) -> None:
        """Let jobs run until this CLOCK_BOOTTIME second and no further, with or without a daemon.

        Call it after every acknowledged heartbeat, and before `converge`. After the fence has passed, nothing is
        started before the next `converge`. Raises OSError when it cannot be written; the fence then stays where it was.
        """
        was_closed = self._fence_has_passed()
        write_fence(str(self._settings.fence_file), boot_id(), deadline_boottime_seconds)
        if was_closed:
            self.drop_waiting()  # it was ordered before: by now it may run on another host

    def use_gate(self, gate: Callable[[MemberSpec], str]) -> None:
        """Start nothing for which `gate` gives a reason, in words that follow "waits: ".

        Call `look_again` when it may give another answer.
        """
        self._gate = gate

    def look_again(self) -> None:
        """Start what waits, if the gate lets it by now."""
        self._spawn(self._start_what_waits())

    def drop_waiting(self) -> None:
        """Start nothing that was ordered until now and waits: it needs another `converge`."""
        self._desired = {key: spec for key, spec in self._desired.items() if self._has_launched(key)}

    def supervisor_process_ids(self) -> dict[MemberKey, int]:
        """Return the supervisors of members that run."""
        found = {
            key: member.directory.read_supervisor()
            for key, member in self._members.items()
            if member.live and member.directory is not None
        }
        return {key: supervisor.pid for key, supervisor in found.items() if supervisor is not None}

    async def stop_members(self, keys: Collection[MemberKey]) -> None:
        """Stop members, each with its own grace, whatever is desired; returns when they have ended."""
        async with aclosing(self.changes()) as changes:
            async with self._converging:
                for key in keys:
                    member = self._members.get(key)
                    if member is not None and not member.status.ended:
                        await self._stop(member)
            while any(key in self._members and not self._members[key].status.ended for key in keys):
                await anext(changes)

    def active_gpu_uuids(self) -> dict[str, MemberKey]:
        """Return the GPUs that are in use by members that run, are starting or are stopping; of sharers the last."""
        return {gpu: key for key, member in self._members.items() if member.live for gpu in member.spec.gpu_uuids}

    # Starting and stopping.

    async def _stop(self, member: Member) -> None:
        if member.launched:
            member.request_stop()
            return
        message = "stopped before it started"
        if member.directory is not None:
            fields = {"outcome": Outcome.STOPPED.value, "message": message, "ended_at": self._clock.now().timestamp()}
            await asyncio.to_thread(member.directory.bury, fields)
        member.fail(Outcome.STOPPED, message, self._clock.now())
        self._publish(member.status)

    async def _start_what_waits(self) -> None:
        async with self._converging:
            await self._start_missing()

    async def _start_missing(self) -> None:
        ready: list[Member] = []
        for key, spec in self._desired.items():
            if key in self._refused:
                continue
            if key not in self._members and key in self._forgotten:
                message = "it ran on this host before, and its result is no longer kept here; it is not started again"
                self._refused[key] = never_started(spec, Outcome.SUPERVISOR_LOST, message, self._clock.now())
                self._publish(self._refused[key])
                continue
            if key not in self._members:
                self._members[key] = Member(spec, None)
            member = self._members[key]
            if member.launched or member.status.ended:
                continue
            reason = self._what_it_waits_for(member)
            if reason:
                if member.status.message != reason:
                    member.status = waiting(spec, reason)
                    self._publish(member.status)
                continue
            member.launched = True
            ready.append(member)
        async with asyncio.TaskGroup() as starts:
            for member in ready:
                starts.create_task(self._launch(member))

    def _what_it_waits_for(self, member: Member) -> str:
        if self._fence_has_passed():
            return "waits: this host has had no answer from its control plane for too long"
        if reason := self._gate(member.spec):
            return f"waits: {reason}"
        for key, other in self._members.items():
            if not other.live:
                continue
            if other.spec.job_id == member.spec.job_id and key.allocation_id != member.spec.allocation_id:
                return f"waits: {key}, another attempt of this job, has not ended on this host yet"
            if shared := _in_the_way(member.spec, other.spec):
                return f"waits: {key} still holds {', '.join(sorted(shared))}"
        return ""

    async def _launch(self, member: Member) -> None:
        key = member.spec.key
        async with self._start_slots:
            try:
                if member.directory is None:
                    member.directory = await asyncio.to_thread(prepare, member.spec, self._settings)
                await asyncio.to_thread(member.directory.launch)
            except NoEngineError as error:
                member.fail(Outcome.START_FAILED, str(error), self._clock.now())
            except FileExistsError:
                member.directory = MemberDirectory(self._settings.jobs_dir / str(key))
            except LockedError:
                log.info("job.already_supervised", member=str(key))
            except OSError as error:
                await self._cannot_start(member, error)
        if member.status.outcome is Outcome.START_FAILED:
            log.warning("job.start_failed", member=str(key), reason=member.status.message)
            self._publish(member.status)
            return
        log.info("job.started", member=str(key), job_id=member.spec.job_id, epoch=member.spec.epoch)
        self._attend(key, member)
        self._mark(key)

    async def _cannot_start(self, member: Member, error: OSError) -> None:
        message = f"this host could not start the job: {error}; look at its disk, memory and process limits"
        fields = {"outcome": Outcome.START_FAILED.value, "message": message, "ended_at": self._clock.now().timestamp()}
        if member.directory is not None:
            try:
                await asyncio.to_thread(member.directory.bury, fields)
            except LockedError:
                return  # a supervisor lives after all
            except OSError as trouble:
                log.warning("job.not_buried", member=str(member.spec.key), error=str(trouble))
        member.fail(Outcome.START_FAILED, message, self._clock.now())

    def _has_launched(self, key: MemberKey) -> bool:
        return key in self._members and self._members[key].launched

    def _fence_has_passed(self) -> bool:
        deadline = read_fence(str(self._settings.fence_file), boot_id())
        return deadline is not None and boottime_seconds() >= deadline

    # Watching and adopting.

    async def _adopt(self) -> None:
        settings = self._settings
        found = await asyncio.to_thread(scan, settings.jobs_dir)
        for key, pid in (await asyncio.to_thread(orphans, settings.jobs_dir, found.keys())).items():
            log.warning("job.directory_deleted", member=str(key), todo="its job is killed, for nobody can follow it")
            await asyncio.to_thread(self._forgotten.add, [key])
            await destroy_orphan(pid, settings.jobs_dir, key, settings.cgroup_parent)
        for key, directory in found.items():
            try:
                document = await asyncio.to_thread(directory.read_document)
                spec = MemberSpec.from_json(document["spec"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("job.unreadable", member=str(key), error=str(error))
                await asyncio.to_thread(self._forgotten.add, [key])
                await destroy(directory, str(key), self._settings.cgroup_parent)
                continue
            member = self._members[key] = Member(spec, directory)
            member.launched = directory.touched or document["plan"]["boot_id"] != boot_id()
            member.refresh()
            if member.status.ended:
                member.size_bytes = await asyncio.to_thread(directory.size_bytes)
            elif member.launched:
                log.info("job.adopted", member=str(key), state=member.status.state.value)
                self._attend(key, member)
                self._mark(key)

    def _attend(self, key: MemberKey, member: Member) -> None:
        """Watch the member's supervisor, or note that there is none to watch."""
        supervisor = member.directory.read_supervisor() if member.directory is not None else None
        if supervisor is not None and member.watch(supervisor, lambda: self._on_death(key, member)):
            self._dead.discard(key)
            if key not in self._desired and member.stop_requested:
                member.stop_requested = False
                member.request_stop()
        else:
            self._dead.add(key)

    def _on_death(self, key: MemberKey, member: Member) -> None:
        member.unwatch()
        member.seen_dying = True
        self._dead.add(key)
        self._mark(key)

    def _mark(self, key: MemberKey) -> None:
        self._dirty.add(key)
        self._wake.set()

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_RECHECK_SECONDS if self._unsure() else _SAFETY_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._dirty |= {key for key, member in self._members.items() if member.live}
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            ended = [key for key in dirty if self._look_at(key)]
            if ended:
                self._spawn(self._start_what_waits())

    def _unsure(self) -> bool:
        return any(not self._members[key].recovering for key in self._dead if key in self._members)

    def _look_at(self, key: MemberKey) -> bool:
        """Bring one member up to date; say whether it has just ended."""
        member = self._members.get(key)
        if member is None or not member.live:
            self._dead.discard(key)
            return False
        try:
            before = member.status
            if key in self._dead and member.directory is not None and not member.directory.path.exists():
                self._note_deleted(member)
            gone = key in self._dead and member.directory is not None and not member.directory.locked
            member.refresh()  # after the lock was looked at: what a dead supervisor wrote last is now to be seen
            if member.status.ended:
                self._dead.discard(key)
                member.unwatch()
                log.info("job.ended", member=str(key), outcome=str(member.status.outcome))
            elif gone and not member.recovering:
                member.recovering = True
                self._spawn(self._recover(key, member))
            elif key in self._dead and not gone:
                self._attend(key, member)
        except OSError as error:
            log.warning("job.unreadable", member=str(key), error=str(error))
            return False
        if member.status != before:
            self._publish(member.status)
        if member.status.ended:
            self.logs.wake(key)
        return member.status.ended

    def _note_deleted(self, member: Member) -> None:
        member.directory = None
        message = "the job's directory was deleted while it ran, and its result with it; run it again"
        member.fail(Outcome.SUPERVISOR_LOST, message, self._clock.now())
        self._forgotten.add([member.spec.key])

    async def _recover(self, key: MemberKey, member: Member) -> None:
        assert member.directory is not None
        log.warning("job.supervisor_lost", member=str(key))
        try:
            await recover(member.directory, now=self._clock.now(), watched=member.seen_dying)
        except LockedError:
            log.warning("job.supervisor_found", member=str(key))
        except OSError as error:
            log.warning("job.not_recovered", member=str(key), error=str(error))
            await asyncio.sleep(_SAFETY_SECONDS)  # a full disk, most likely: the next round tries again
        finally:
            member.recovering = False
            self._mark(key)

    # Telling and forgetting.

    def _publish(self, status: MemberStatus) -> None:
        for feed in self._feeds:
            feed.put(status)

    def _is_ended(self, key: MemberKey) -> bool:
        member = self._members.get(key)
        return member is None or member.status.state is MemberState.ENDED

    async def _forget_expired(self) -> None:
        settings = self._settings
        gone = retention.expired(self._members.values(), settings.retained_members, settings.retained_bytes)
        gone = [member for member in gone if member.spec.key not in self._desired]
        if not gone:
            return
        await asyncio.to_thread(self._forgotten.add, [member.spec.key for member in gone])
        for member in gone:
            self._members.pop(member.spec.key, None)
        await asyncio.to_thread(retention.delete, gone)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _in_the_way(wanted: MemberSpec, other: MemberSpec) -> set[str]:
    """Return the GPUs that both want, unless each is content with a part: how many parts fit is decided elsewhere."""
    if wanted.gpu_milli and other.gpu_milli:
        return set()
    return set(wanted.gpu_uuids) & set(other.gpu_uuids)
