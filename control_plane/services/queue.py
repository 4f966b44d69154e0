"""QueueService: which jobs wait, in which order, for what, and what would help."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from control_plane.fleet import executors
from control_plane.fleet.placement.room import Asked
from control_plane.fleet.placement.verdicts import Verdict
from control_plane.fleet.prices import PriceTable
from control_plane.fleet.queueing.model import Standing, WaitingJob
from control_plane.model.ids import JOB, AllocationId, JobId, UserId
from control_plane.model.job import AllocationState, Job
from control_plane.scheduling.view import Line, QueueView, standing_of
from control_plane.scheduling.world import World
from control_plane.services.convert import jobs as convert_jobs
from control_plane.services.convert import queue as convert
from control_plane.services.convert.scalars import timestamp
from control_plane.services.paging import Paging
from control_plane.services.simulations import Simulations
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.quotas import team_path
from control_plane.store import allocations, jobs
from control_plane.store.database import Store, Tx
from control_plane.store.pages import place_of, place_token
from orquanta.v1 import queue_pb2
from orquanta.v1.queue_pb2_grpc import QueueServiceServicer

_VERDICTS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class _Which:
    """Which jobs of the queue; empty means all."""

    team: str
    user_id: UserId | None

    def has(self, job: WaitingJob) -> bool:
        """Tell whether a job is one of them."""
        of_team = not self.team or job.team == self.team or job.team.startswith(f"{self.team}/")
        return of_team and self.user_id in (None, job.user_id)


class Queues(QueueServiceServicer):
    """Serves the queue."""

    def __init__(self, *, store: Store, view: QueueView, prices: PriceTable) -> None:
        self._store = store
        self._view = view
        self._simulations = Simulations(view, prices)

    @override
    async def ListQueue(self, request: queue_pb2.ListQueueRequest, context: object) -> queue_pb2.ListQueueResponse:
        fields = Fields()
        which = _Which(
            team_path(fields, "team", request.team) if request.team else "",
            fields.optional_user_id("user_id", request.user_id),
        )
        fields.check()
        paging = Paging(request)
        start, size = place_of(paging.wanted.token), paging.wanted.size

        def find(world: World, line: Line) -> tuple[list[tuple[Standing, WaitingJob]], int, Line]:
            waiting = world.queue.jobs()
            found = [(one, waiting[one.job_id]) for one in line.standings if one.job_id in waiting]
            chosen = [(one, job) for one, job in found if which.has(job)]
            return chosen[start : start + size + 1], len(chosen), line

        found, total, line = await self._view.ask(find)
        shown = found[:size]
        names = await self._store.read(lambda tx: _names(tx, [one.job_id for one, _ in shown]))
        return queue_pb2.ListQueueResponse(
            entries=[convert.entry(one, job, names.get(one.job_id, "")) for one, job in shown],
            next_page_token=paging.next(place_token(start + size) if len(found) > size else ""),
            total=total,
            decided_at=timestamp(line.decided_at),
        )

    @override
    async def ExplainJob(self, request: queue_pb2.ExplainJobRequest, context: object) -> queue_pb2.ExplainJobResponse:
        fields = Fields()
        job_id = fields.id("job_id", JOB, request.job_id)
        fields.check()
        job, making_way = await self._store.read(
            lambda tx: (jobs.require(tx, job_id), allocations.making_way_for(tx, job_id))
        )
        newest = job.allocations[-1] if job.allocations else None
        holds = newest is not None and newest.state is not AllocationState.ENDED
        response = queue_pb2.ExplainJobResponse(
            job=convert_jobs.job(job),
            making_way_job_ids=making_way,
            placement_reason=newest.placement_reason if newest is not None and holds else "",
        )
        if job.state.ended:
            return response
        standing, waiting, verdicts = await self._view.ask(
            lambda world, line: _look(world, line, job, newest.id if newest is not None and holds else None)
        )
        if standing is not None and waiting is not None:
            response.waiting.CopyFrom(convert.entry(standing, waiting, job.spec.name))
        response.nodes.extend(convert.verdict(one) for one in verdicts)
        return response

    @override
    async def Simulate(self, request: queue_pb2.SimulateRequest, context: object) -> queue_pb2.SimulateResponse:
        return await self._simulations.run(request, self._store.clock.now())


def _look(
    world: World, line: Line, job: Job, held: AllocationId | None
) -> tuple[Standing | None, WaitingJob | None, Sequence[Verdict]]:
    """Return where a job stands, if it waits, and how hosts compare for it, as if it held nothing."""
    waiting = world.queue.jobs().get(job.id)
    asked = Asked(job.id, job.team, executors.asked(job.spec))
    with world.room.without([held] if held else []):
        verdicts = world.room.verdicts(asked, _VERDICTS_MAX)
    return (standing_of(line, job.id) if waiting is not None else None), waiting, verdicts


def _names(tx: Tx, job_ids: Sequence[JobId]) -> dict[JobId, str]:
    return {job.id: job.spec.name for job in jobs.many(tx, job_ids)}
