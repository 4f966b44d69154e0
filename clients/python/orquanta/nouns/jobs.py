"""Jobs: one command or image that runs on GPUs."""

from collections.abc import AsyncGenerator, Iterable, Sequence

from orquanta.convert.diagnoses import read_diagnosis
from orquanta.convert.jobs import read_job, read_log_chunk, read_template, write_spec
from orquanta.convert.scalars import write_enum
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.diagnoses import Diagnosis
from orquanta.types.jobs import Job, JobSpec, JobState, JobTemplate, LogChunk, Submission
from orquanta.v1 import job_pb2 as pb
from orquanta.v1.job_pb2_grpc import JobServiceStub

_DIAGNOSIS_SECONDS = 75.0
"""A model may be asked, which takes longer than other calls."""


class AsyncJobs:
    """Submit, follow and cancel jobs, and read their output."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = JobServiceStub(transport.channel)

    async def submit(self, spec: JobSpec, *, request_id: str | None = None) -> Submission:
        """Pass a job through the governor and queue it."""
        response = await self._transport.call(
            self._stub.SubmitJob,
            pb.SubmitJobRequest(spec=write_spec(spec), request_id=request_id_or_new(request_id)),
        )
        return Submission(job=read_job(response.job), action_id=response.action_id)

    async def get(self, job_id: str) -> Job:
        """One job with all its attempts. Raises NotFound."""
        response = await self._transport.call(self._stub.GetJob, pb.GetJobRequest(job_id=job_id))
        return read_job(response.job)

    def list(
        self,
        *,
        states: Iterable[JobState] = (),
        goal_id: str = "",
        user_id: str = "",
        node_id: str = "",
        page_size: int = 0,
    ) -> AsyncGenerator[Job, None]:
        """Jobs, newest first, each with its newest attempt only; pages are fetched as they are needed."""
        wanted = [write_enum(pb.JobState, state) for state in states]

        async def fetch(token: str) -> tuple[Sequence[Job], str]:
            response = await self._transport.call(
                self._stub.ListJobs,
                pb.ListJobsRequest(
                    page_size=page_size,
                    page_token=token,
                    states=wanted,
                    goal_id=goal_id,
                    user_id=user_id,
                    node_id=node_id,
                ),
            )
            return [read_job(job) for job in response.jobs], response.next_page_token

        return paged(fetch)

    def watch(self, *, job_id: str = "", goal_id: str = "") -> AsyncGenerator[Job, None]:
        """The matching jobs as they are now, then each one after each change; survives broken connections.

        With `job_id` it ends when that job has ended, else it never ends by itself.
        """
        return self._transport.watch(
            self._stub.WatchJobs,
            lambda token: pb.WatchJobsRequest(job_id=job_id, goal_id=goal_id, resume_token=token),
            lambda event: read_job(event.job),
            until=lambda job: bool(job_id) and job.state.ended,
        )

    async def wait(self, job_id: str) -> Job:
        """The job once it has ended. Bound it with `asyncio.timeout`: a job may be queued for long."""
        async for _ in self.watch(job_id=job_id):
            pass
        return await self.get(job_id)

    def logs(
        self,
        job_id: str,
        *,
        epoch: int = 0,
        rank: int | None = None,
        follow: bool = False,
        tail_lines: int = 0,
    ) -> AsyncGenerator[LogChunk, None]:
        """The output of an attempt (the newest if `epoch` is 0), of one rank or of all.

        With `follow` it goes on as output is written until the job has ended, over broken connections
        without a gap or a repeat. `tail_lines` limits what was written before; 0 means everything kept.
        """

        def request(token: str) -> pb.ReadLogsRequest:
            return pb.ReadLogsRequest(
                job_id=job_id,
                epoch=epoch,
                rank=rank,
                follow=follow,
                tail_lines=tail_lines,
                resume_token=token,
            )

        return self._transport.watch(self._stub.ReadLogs, request, read_log_chunk, until=None)

    async def cancel(self, job_id: str, *, reason: str = "", request_id: str | None = None) -> Job:
        """Stop a job: SIGTERM, a grace, then SIGKILL of its whole tree."""
        response = await self._transport.call(
            self._stub.CancelJob,
            pb.CancelJobRequest(job_id=job_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_job(response.job)

    async def diagnose(self, job_id: str) -> Diagnosis:
        """Why a job failed, with the evidence that says so: by rules, or by a model where they end."""
        response = await self._transport.call(
            self._stub.DiagnoseJob, pb.DiagnoseJobRequest(job_id=job_id), timeout_seconds=_DIAGNOSIS_SECONDS
        )
        return read_diagnosis(response.diagnosis)

    async def templates(self) -> tuple[JobTemplate, ...]:
        """What can run when a job names neither command nor image, by name."""
        response = await self._transport.call(self._stub.ListJobTemplates, pb.ListJobTemplatesRequest())
        return tuple(read_template(template) for template in response.templates)
