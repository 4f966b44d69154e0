"""The jobs of this host as health and repairs see them, and what keeps further ones from starting."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, NoReturn

import structlog

from node_agent.health.model import JobOnGpu
from node_agent.jobs.proc import all_pids, stat_fields
from node_agent.jobs.runner import JobRunner
from node_agent.jobs.spec import MemberKey, MemberSpec
from node_agent.repair.ports import HostJob

log = structlog.get_logger()

_LOOK_AGAIN_SECONDS = 30.0
_SETTLE_SECONDS = 1.0  # after a change: a job that starts has its processes soon
_MAXIMUM_PROCESSES: Final = 4096  # of one job
_ZOMBIE_OR_DEAD = "ZX"
_STATE, _PARENT = 0, 1  # fields of /proc/<pid>/stat after the name


class Root(NamedTuple):
    """From where the processes of a job are found."""

    supervisor: int | None
    """It adopts each process whose parent ends, so that all of the job's are below it; it is none of them."""
    main: int | None
    """The job's own first process, where the supervisor is not known."""


class HostJobs:
    """Implements the repair engine's `JobControl`, and tells the health engine who holds which GPU."""

    def __init__(self, runner: JobRunner, *, on_changed: Callable[[], None], gpu_of: Callable[[str], str]) -> None:
        """`on_changed` is called when jobs, or what is known of their processes, have changed.

        `gpu_of` tells the GPU of a MIG device: what is done to a GPU is done to all its parts.
        """
        self._runner = runner
        self._on_changed = on_changed
        self._gpu_of = gpu_of
        self._process_ids: dict[MemberKey, frozenset[int]] = {}
        self._held: frozenset[str] | None = None
        self._cordoned = ""
        self._changed = asyncio.Event()
        runner.use_gate(self._reason)

    # What repairs ask.

    def jobs(self) -> Sequence[HostJob]:
        """Return the jobs that have not ended."""
        return [
            HostJob(
                status.job_id,
                key.allocation_id,
                tuple(dict.fromkeys(map(self._gpu_of, status.gpu_uuids))),
                self._process_ids.get(key, frozenset()),
            )
            for key, status in self._runner.statuses().items()
            if not status.ended
        ]

    def protected_process_ids(self) -> frozenset[int]:
        """Return the supervisors of jobs."""
        return frozenset(self._runner.supervisor_process_ids().values())

    def hold(self, gpu_uuids: Collection[str]) -> None:
        """Start no jobs on these GPUs, or none at all if empty, until `let_go`."""
        self._held = frozenset(gpu_uuids)

    def let_go(self) -> None:
        """End the hold."""
        if self._held is not None:
            self._held = None
            self._runner.look_again()

    async def stop(self, jobs: Sequence[HostJob], reason: str) -> None:
        """Stop jobs, each with its grace; returns when they have ended."""
        wanted = {job.allocation_id for job in jobs}
        keys = [key for key in self._runner.statuses() if key.allocation_id in wanted]
        log.warning("jobs.stopping", allocations=sorted(wanted), reason=reason)
        await self._runner.stop_members(keys)

    # What else is asked.

    @property
    def cordoned(self) -> str:
        """Why the host takes no jobs by its own decision; empty if it does."""
        return self._cordoned

    def cordon(self, reason: str) -> None:
        """Take no jobs for this reason, or take them again if it is empty."""
        if reason == self._cordoned:
            return
        before, self._cordoned = self._cordoned, reason
        if reason and not before:
            log.error("host.cordoned", reason=reason)
            self._runner.drop_waiting()  # by the time this ends, it may run elsewhere
        elif not reason:
            log.info("host.uncordoned")
            self._runner.look_again()

    def holders(self) -> dict[str, JobOnGpu]:
        """Return who holds which GPU, by UUID."""
        return {
            uuid: JobOnGpu(job.job_id, job.allocation_id, job.process_ids)
            for job in self.jobs()
            for uuid in job.gpu_uuids
        }

    def changed(self) -> None:
        """Take note that a job has changed."""
        self._changed.set()

    async def run(self) -> NoReturn:
        """Keep up with the processes of jobs until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                    await self._changed.wait()
                self._on_changed()
                await asyncio.sleep(_SETTLE_SECONDS)
            except TimeoutError:
                pass
            self._changed.clear()
            live = {key: status.pid for key, status in self._runner.statuses().items() if not status.ended}
            if live or self._process_ids:
                supervisors = self._runner.supervisor_process_ids()
                roots = {key: Root(supervisors.get(key), pid) for key, pid in live.items()}
                self._process_ids = await asyncio.to_thread(_process_trees, roots) if roots else {}
                self._on_changed()

    def _reason(self, spec: MemberSpec) -> str:
        if self._cordoned:
            return self._cordoned
        if self._held is None or (self._held and self._held.isdisjoint(map(self._gpu_of, spec.gpu_uuids))):
            return ""
        return "the host, or a GPU that it needs, is being repaired"


def _process_trees(roots: Mapping[MemberKey, Root]) -> dict[MemberKey, frozenset[int]]:
    """Return the live processes of each root, found in one pass over /proc."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        fields = stat_fields(pid)
        if fields is not None and fields[_STATE] not in _ZOMBIE_OR_DEAD:
            children.setdefault(int(fields[_PARENT]), []).append(pid)
    trees: dict[MemberKey, frozenset[int]] = {}
    for key, root in roots.items():
        if root.supervisor is not None:
            level = children.get(root.supervisor, [])
        else:
            level = [] if root.main is None else [root.main]
        found = set(level)
        while level and len(found) < _MAXIMUM_PROCESSES:
            level = [child for parent in level for child in children.get(parent, ()) if child not in found]
            found.update(level)
        trees[key] = frozenset(found)
    return trees
