"""The queue of the SDK: what counts as a change, and how a watch outlives an outage."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from orquanta import AsyncClient
from orquanta.errors import Unavailable
from orquanta.retry import RetryPolicy
from orquanta.v1 import queue_pb2
from tests.clients.conftest import Certificates
from tests.clients.scripted import Failure, ScriptedServer

DOWN = Failure(grpc.StatusCode.UNAVAILABLE, "restarting", "RESTARTING")
ONCE = RetryPolicy(max_attempts=1)
QUICK = RetryPolicy(max_attempts=3, first_pause_seconds=0.0, max_pause_seconds=0.0)
START = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture
async def client(
    server: ScriptedServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[AsyncClient, None]:
    made = AsyncClient(
        server.address, api_key="k-secret", ca_certificate=certificates.ca, retry=ONCE, watch_retry=QUICK
    )
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(made.queue._transport, "_pause", pause)  # time is not waited for
    async with made:
        yield made
    assert min(pauses, default=1.0) >= 1.0  # never asked again at once, whatever fails


def answer(starts: datetime, **entry: str) -> queue_pb2.ListQueueResponse:
    made = queue_pb2.QueueEntry(job_id="j-1", position=1, **entry)  # type: ignore[arg-type] # texts by their fields
    made.estimated_start_at.FromDatetime(starts)
    decided = queue_pb2.ListQueueResponse(entries=[made], total=1)
    decided.decided_at.GetCurrentTime()
    return decided


async def test_a_page_is_told_again_when_something_changed_and_not_because_time_has_passed(
    server: ScriptedServer, client: AsyncClient
) -> None:
    soon, late = answer(START + timedelta(seconds=50)), answer(START + timedelta(seconds=100))
    other = answer(START + timedelta(seconds=100), waits_for="1 of 2 H100 free")
    server.answer("QueueService/ListQueue", answer(START), answer(START), soon, DOWN, DOWN, late, other)
    async with aclosing(client.queue.watch()) as pages:
        told = [await anext(pages) for _ in range(3)]
    assert [page.entries[0].estimated_start_at for page in told] == [
        START,
        START + timedelta(seconds=100),
        START + timedelta(seconds=100),
    ]
    assert told[-1].entries[0].waits_for == "1 of 2 H100 free"


async def test_each_answer_is_told_also_one_in_which_nothing_differs_and_no_failure_is(
    server: ScriptedServer, client: AsyncClient
) -> None:
    other = answer(START, waits_for="1 of 2 H100 free")
    server.answer("QueueService/ListQueue", answer(START), answer(START), DOWN, answer(START), other)
    answers: list[int] = []
    async with aclosing(client.queue.watch(on_answer=lambda: answers.append(1))) as pages:
        assert [(await anext(pages), len(answers))[1] for _ in range(2)] == [1, 4]


async def test_a_watch_gives_up_when_the_server_stays_away(server: ScriptedServer, client: AsyncClient) -> None:
    server.answer("QueueService/ListQueue", answer(START), DOWN)
    with pytest.raises(Unavailable, match="restarting"):
        async for _ in client.queue.watch():
            pass


async def test_a_watch_of_a_server_that_was_never_there_does_not_wait_for_it(
    server: ScriptedServer, client: AsyncClient
) -> None:
    server.answer("QueueService/ListQueue", DOWN, answer(START))
    with pytest.raises(Unavailable, match="restarting"):
        await anext(client.queue.watch())


async def test_a_watch_that_asks_too_often_is_refused(client: AsyncClient) -> None:
    with pytest.raises(ValueError, match="every_seconds must be at least 1"):
        await anext(client.queue.watch(every_seconds=0.5))
