"""The queue: which jobs wait, in which order, for what, and what would help."""

from collections.abc import AsyncGenerator, Iterable, Sequence

from orquanta.convert.queues import read_entry, read_explanation
from orquanta.convert.scalars import read_time
from orquanta.convert.simulations import read_outcome, write_job, write_nodes
from orquanta.transport import Transport, paged
from orquanta.types.queues import JobExplanation, QueueEntry, QueuePage
from orquanta.types.simulations import SimulatedJob, SimulatedNodes, SimulationOutcome
from orquanta.v1 import queue_pb2 as pb
from orquanta.v1.queue_pb2_grpc import QueueServiceStub


class AsyncQueue:
    """Look at the queue, and ask why a job waits or runs where it runs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = QueueServiceStub(transport.channel)

    async def head(self, limit: int = 50, *, team: str = "", user_id: str = "") -> QueuePage:
        """The first jobs (at most 500) in the order in which they are served, and how many wait in all.

        `team` means a team and the teams in it.
        """
        response = await self._transport.call(
            self._stub.ListQueue, pb.ListQueueRequest(page_size=limit, team=team, user_id=user_id)
        )
        return QueuePage(
            tuple(read_entry(one) for one in response.entries), response.total, read_time(response.decided_at)
        )

    def list(self, *, team: str = "", user_id: str = "", page_size: int = 0) -> AsyncGenerator[QueueEntry, None]:
        """All jobs that wait, in order; pages are fetched as they are needed, so the order may change on the way."""

        async def fetch(token: str) -> tuple[Sequence[QueueEntry], str]:
            response = await self._transport.call(
                self._stub.ListQueue,
                pb.ListQueueRequest(page_size=page_size, page_token=token, team=team, user_id=user_id),
            )
            return [read_entry(one) for one in response.entries], response.next_page_token

        return paged(fetch)

    async def simulate(
        self,
        jobs: Iterable[SimulatedJob] = (),
        *,
        nodes: Iterable[SimulatedNodes] = (),
        add_nodes: Iterable[SimulatedNodes] = (),
        remove_nodes: Iterable[str] = (),
        packing: str = "",
        order: str = "",
        backfill: bool | None = None,
        preemption: bool | None = None,
        seed: int = 0,
        timeout_seconds: float = 600.0,
    ) -> SimulationOutcome:
        """What would come of a list of jobs (the live queue if empty) on other hosts or by other rules.

        `nodes` stand in place of the live fleet, `add_nodes` beside it; `remove_nodes` are names or ids of live hosts.
        `packing` is "node_value", "fgd", "best_fit" or "random", `order` "fair_share" or "fifo"; what is not given is
        as the settings say. Nothing is changed.
        """
        request = pb.SimulateRequest(
            jobs=[write_job(job) for job in jobs],
            nodes=[write_nodes(one) for one in nodes],
            add_nodes=[write_nodes(one) for one in add_nodes],
            remove_nodes=list(remove_nodes),
            packing=packing,
            order=order,
            backfill=backfill,
            preemption=preemption,
            seed=seed,
        )
        return read_outcome(await self._transport.call(self._stub.Simulate, request, timeout_seconds=timeout_seconds))

    async def explain(self, job_id: str) -> JobExplanation:
        """Why a job waits, or why it runs where it runs. Raises NotFound."""
        response = await self._transport.call(self._stub.ExplainJob, pb.ExplainJobRequest(job_id=job_id))
        return read_explanation(response)
