"""The queue: which jobs wait, in which order, for what, and what would help."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from orquanta.convert.queues import read_entry, read_explanation
from orquanta.convert.scalars import read_time
from orquanta.convert.simulations import read_outcome, write_job, write_nodes
from orquanta.errors import OrQuantaError
from orquanta.transport import Transport, paged
from orquanta.types.queues import (
    QUEUE_EVERY_SECONDS,
    QUEUE_EVERY_SECONDS_MIN,
    JobExplanation,
    QueueEntry,
    QueuePage,
)
from orquanta.types.simulations import SimulatedJob, SimulatedNodes, SimulationOutcome
from orquanta.v1 import queue_pb2 as pb
from orquanta.v1.queue_pb2_grpc import QueueServiceStub

_ESTIMATE = timedelta(minutes=1)  # an estimated start that has moved by less is the same


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

    async def watch(
        self,
        limit: int = 50,
        *,
        team: str = "",
        user_id: str = "",
        every_seconds: float = QUEUE_EVERY_SECONDS,
        on_answer: Callable[[], object] | None = None,
        on_failure: Callable[[OrQuantaError], object] | None = None,
    ) -> AsyncGenerator[QueuePage, None]:
        """The first jobs now, and then each time that they differ; it does not end by itself.

        The server has no stream of the queue: it is asked every `every_seconds` (at least 1). A page differs when a
        job came or went, waits for something else or stands elsewhere; not because time has passed or an estimated
        start has moved by less than a minute. `on_answer` is called at every answer, also one that differs in nothing:
        since then it is not known whether the last page still holds. `on_failure` is called whenever there was none,
        and the server is asked again. The client's event loop waits for both. Raises OrQuantaError when the server is
        away for longer than a watch's retries last.
        """
        if every_seconds < QUEUE_EVERY_SECONDS_MIN:
            raise ValueError(f"every_seconds must be at least {QUEUE_EVERY_SECONDS_MIN:g}")
        told: QueuePage | None = None
        async for page in self._transport.poll(
            partial(self.head, limit, team=team, user_id=user_id), every_seconds=every_seconds, on_failure=on_failure
        ):
            if on_answer is not None:
                on_answer()
            if told is None or _differs(told, page):
                told = page
                yield page

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


def _differs(told: QueuePage, page: QueuePage) -> bool:
    """Tell whether a page has something to tell after another one."""
    if told.total != page.total or len(told.entries) != len(page.entries):
        return True
    return any(_moved(before, after) for before, after in zip(told.entries, page.entries, strict=True))


def _moved(before: QueueEntry, after: QueueEntry) -> bool:
    if replace(before, estimated_start_at=None) != replace(after, estimated_start_at=None):
        return True
    early, late = before.estimated_start_at, after.estimated_start_at
    if early is None or late is None:
        return early is not late
    return abs(late - early) >= _ESTIMATE
