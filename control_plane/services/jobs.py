"""JobService: commands and images that run on GPUs."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from typing_extensions import override

from control_plane.errors import InvalidArgument
from control_plane.fleet.templates import TEMPLATES
from control_plane.governor.governor import Governor
from control_plane.model.action import Action, ActionState, LaunchJobs, NewJob, Proposal, StopJob
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import ACTION, GOAL, JOB, NODE, GoalId, JobId
from control_plane.model.job import Job, JobSpec, JobState
from control_plane.model.record import Event, Noun
from control_plane.services import call_traces
from control_plane.services.caller import owner_or, person
from control_plane.services.convert import jobs as convert
from control_plane.services.convert.diagnoses import diagnosis
from control_plane.services.convert.scalars import from_wire, timestamp
from control_plane.services.job_cache import JobCache
from control_plane.services.limits import Context
from control_plane.services.logs import JobLogs
from control_plane.services.mutations import Mutation, mutation
from control_plane.services.paging import Paging
from control_plane.services.proposals import propose
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.jobs import job_spec
from control_plane.services.watch import Watched, Watcher
from control_plane.store import events, goals, jobs
from control_plane.store.database import Store, Tx
from control_plane.store.jobs import JobFilter
from control_plane.store.pages import PageRequest
from control_plane.tools.definition import JobDiagnoser
from control_plane.tools.diagnosing import ANSWER_SECONDS
from orquanta.v1 import job_pb2
from orquanta.v1.job_pb2_grpc import JobServiceServicer

_STATES: Final = from_wire(convert.JOB_STATE)
_WATCHED_MAX: Final = 5_000
"""Jobs that one stream may begin with; a larger fleet is watched by goal or from a list."""
_PAGE: Final = 500
_DIAGNOSIS_SECONDS: Final = 25.0
"""How long a model may take for who names no deadline."""
_MARGIN_SECONDS: Final = 5.0
_LIVE: Final = tuple(state for state in JobState if not state.ended)


class Jobs(JobServiceServicer):
    """Serves jobs."""

    def __init__(
        self,
        *,
        store: Store,
        governor: Governor,
        watcher: Watcher,
        logs: JobLogs,
        diagnoses: JobDiagnoser,
        cache: JobCache,
    ) -> None:
        self._store = store
        self._diagnoses = diagnoses
        self._governor = governor
        self._watcher = watcher
        self._logs = logs
        self._cache = cache

    @override
    async def SubmitJob(self, request: job_pb2.SubmitJobRequest, context: object) -> job_pb2.SubmitJobResponse:
        fields = Fields()
        spec = job_spec(fields, "spec", request.spec)
        if spec.template and spec.template not in TEMPLATES:
            fields.wrong(
                "spec.template", f"there is none of this name; use one of {', '.join(TEMPLATES)}", "TEMPLATE_UNKNOWN"
            )
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("SubmitJob", request, request.request_id)
        job_id = change.id(JOB)
        proposal = _launch(change, person(), job_id, spec)
        await call_traces.remember(self._store, job_id)
        action = await propose(self._store, self._governor, change, lambda _tx: proposal)
        job = await self._store.read(lambda tx: jobs.get(tx, job_id))
        waits = action.state is ActionState.AWAITING_APPROVAL
        return job_pb2.SubmitJobResponse(
            job=convert.job(job) if job is not None else _not_yet(job_id, spec, action),
            action_id=action.id if waits else "",
        )

    @override
    async def GetJob(self, request: job_pb2.GetJobRequest, context: object) -> job_pb2.GetJobResponse:
        job_id = _job_id(request.job_id)
        ready = await self._cache.current(job_id)
        if ready is not None:
            return job_pb2.GetJobResponse.FromString(ready)
        sequence, job = await self._store.read(lambda tx: (events.newest(tx), jobs.require(tx, job_id)))
        response = job_pb2.GetJobResponse(job=convert.job(job))
        self._cache.store(job_id, response.SerializeToString(), sequence)
        return response

    @override
    async def ListJobs(self, request: job_pb2.ListJobsRequest, context: object) -> job_pb2.ListJobsResponse:
        fields = Fields()
        which = JobFilter(
            states=tuple(fields.enums("states", request.states, _STATES)),
            goal_id=fields.optional_id("goal_id", GOAL, request.goal_id),
            user_id=fields.optional_user_id("user_id", request.user_id),
            node_id=fields.optional_id("node_id", NODE, request.node_id),
        )
        fields.check()
        paging = Paging(request)
        page = await self._store.read(lambda tx: jobs.page(tx, which, paging.wanted))
        return job_pb2.ListJobsResponse(
            jobs=[convert.job(job, newest_only=True) for job in page.items],
            next_page_token=paging.next(page.next_token),
        )

    @override
    async def WatchJobs(
        self, request: job_pb2.WatchJobsRequest, context: object
    ) -> AsyncIterator[job_pb2.WatchJobsResponse]:
        fields = Fields()
        job_id = fields.optional_id("job_id", JOB, request.job_id)
        goal_id = fields.optional_id("goal_id", GOAL, request.goal_id)
        fields.check()
        async for change in self._watcher.watch(_watched(job_id, goal_id), request.resume_token):
            yield job_pb2.WatchJobsResponse(job=convert.job(change.item), resume_token=change.resume_token)

    @override
    async def CancelJob(self, request: job_pb2.CancelJobRequest, context: object) -> job_pb2.CancelJobResponse:
        fields = Fields()
        job_id = fields.id("job_id", JOB, request.job_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        job = await self._store.read(lambda tx: jobs.require(tx, job_id))
        caller = owner_or(Role.OPERATOR, job.user_id, f"job {job_id}")
        if job.state is not JobState.CANCELLED:
            change = mutation("CancelJob", request, request.request_id)
            proposal = _stop(change, caller, job, reason)
            await propose(self._store, self._governor, change, lambda _tx: proposal)
            job = await self._store.read(lambda tx: jobs.require(tx, job_id))
        return job_pb2.CancelJobResponse(job=convert.job(job))

    @override
    async def ReadLogs(
        self, request: job_pb2.ReadLogsRequest, context: object
    ) -> AsyncIterator[job_pb2.ReadLogsResponse]:
        async for response in self._logs.read(request):
            yield response

    @override
    async def DiagnoseJob(self, request: job_pb2.DiagnoseJobRequest, context: Context) -> job_pb2.DiagnoseJobResponse:
        job_id = _job_id(request.job_id)
        _, found = await self._diagnoses.of_job(person(), job_id, seconds=_model_seconds(context))
        return job_pb2.DiagnoseJobResponse(diagnosis=diagnosis(found))

    @override
    async def ListJobTemplates(
        self, request: job_pb2.ListJobTemplatesRequest, context: object
    ) -> job_pb2.ListJobTemplatesResponse:
        return job_pb2.ListJobTemplatesResponse(
            templates=[
                job_pb2.JobTemplate(
                    name=template.name,
                    description=template.description,
                    intent=template.intent,
                    default_max_runtime_seconds=template.default_max_runtime_seconds,
                )
                for _, template in sorted(TEMPLATES.items())
            ]
        )


def _model_seconds(context: Context) -> float:
    """Return how long a model may take: a moment less than the caller waits."""
    left = context.time_remaining()
    return _DIAGNOSIS_SECONDS if left is None else max(1.0, min(left, ANSWER_SECONDS) - _MARGIN_SECONDS)


def _job_id(text: str) -> JobId:
    fields = Fields()
    job_id = fields.id("job_id", JOB, text)
    fields.check()
    return job_id


def _launch(change: Mutation, caller: Principal, job_id: JobId, spec: JobSpec) -> Proposal:
    return Proposal(
        id=change.id(ACTION),
        effect=LaunchJobs(jobs=(NewJob(job_id, spec),)),
        proposer=caller.email,
        reasoning="submitted as a job",
        is_person=not caller.for_agent,
        user_id=caller.user_id,
        job_id=job_id,
    )


def _stop(change: Mutation, caller: Principal, job: Job, reason: str) -> Proposal:
    text = f"cancelled by {caller.email}" + (f": {reason}" if reason else "")
    return Proposal(
        id=change.id(ACTION),
        effect=StopJob(job_id=job.id, reason=text),
        proposer=caller.email,
        reasoning=reason,
        is_person=not caller.for_agent,
        user_id=caller.user_id,
        goal_id=job.goal_id,
        job_id=job.id,
    )


def _not_yet(job_id: JobId, spec: JobSpec, action: Action) -> job_pb2.Job:
    """Return the job as it will be queued once its action is approved; until then it is in no list."""
    caller = person()
    return job_pb2.Job(
        id=job_id,
        user_id=caller.user_id,
        user_email=caller.email,
        spec=convert.spec(spec),
        state=job_pb2.JOB_STATE_QUEUED,
        status_reason=f"needs approval: an operator other than you approves {action.id}",
        created_at=timestamp(action.created_at),
    )


def _watched(job_id: JobId | None, goal_id: GoalId | None) -> Watched[JobId, Job]:
    """All jobs, one job, or those of a goal; both filters together mean both."""

    def concerns(event: Event) -> JobId | None:
        if event.noun is not Noun.JOB or (job_id and event.id != job_id):
            return None
        return None if goal_id and event.parent_id != goal_id else JobId(event.id)

    def current(tx: Tx) -> Sequence[Job]:
        if job_id is not None:
            job = jobs.require(tx, job_id)
            return (job,) if goal_id in (None, job.goal_id) else ()
        if goal_id is not None:
            goals.require(tx, goal_id)
            return jobs.of_goal(tx, goal_id)
        return _live(tx)

    def load(tx: Tx, job_ids: Iterable[JobId]) -> Mapping[JobId, Job]:
        found = ((wanted, jobs.get(tx, wanted)) for wanted in job_ids)
        return {wanted: job for wanted, job in found if job is not None}

    def ended(tx: Tx) -> bool:
        if job_id is not None:
            return jobs.require(tx, job_id, with_allocations=False).state.ended
        if goal_id is not None:
            of_goal = jobs.of_goal(tx, goal_id)
            return goals.require(tx, goal_id).state.ended and all(job.state.ended for job in of_goal)
        return False

    return Watched(
        scope=("jobs", job_id or "", goal_id or ""), concerns=concerns, current=current, load=load, ended=ended
    )


def _live(tx: Tx) -> Sequence[Job]:
    """Return every job that has not ended, newest first."""
    found: list[Job] = []
    request = PageRequest(size=_PAGE)
    while True:
        page = jobs.page(tx, JobFilter(states=_LIVE), request)
        found.extend(page.items)
        if len(found) > _WATCHED_MAX:
            raise InvalidArgument(
                f"more than {_WATCHED_MAX} jobs have not ended; watch one job, or the jobs of one goal",
                reason="WATCH_TOO_LARGE",
            )
        if not page.next_token:
            return found
        request = PageRequest(size=_PAGE, token=page.next_token)
