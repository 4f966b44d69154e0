"""The blocking client does what the asynchronous one does."""

import asyncio
import inspect
import threading

import grpc
import pytest

from orquanta import AsyncClient, Client
from orquanta.blocking.loop import Blocking, LoopThread
from orquanta.errors import NotFound, Unavailable
from orquanta.retry import RetryPolicy
from orquanta.types import GoalState
from orquanta.v1 import goal_pb2
from tests.clients.conftest import Certificates
from tests.clients.scripted import Failure, ScriptedServer


async def test_blocking_client_has_every_noun_and_method_of_the_asynchronous_one(
    certificates: Certificates,
) -> None:
    async with AsyncClient("localhost:1", ca_certificate=certificates.ca) as theirs:
        with Client("localhost:1", ca_certificate=certificates.ca) as ours:
            nouns = [name for name in vars(theirs) if not name.startswith("_")]
            assert nouns
            for noun in nouns:
                methods = {name for name in vars(type(getattr(theirs, noun))) if not name.startswith("_")}
                twin = getattr(ours, noun)
                assert isinstance(twin, Blocking)
                assert {name for name in vars(type(twin)) if not name.startswith("_")} == methods
                for name in methods:
                    assert inspect.getdoc(getattr(twin, name)) == inspect.getdoc(getattr(getattr(theirs, noun), name))


async def test_blocking_calls_and_streams_return_the_same_values(
    server: ScriptedServer, certificates: Certificates
) -> None:
    goal = goal_pb2.Goal(id="g-1", state=goal_pb2.GOAL_STATE_SUCCEEDED)
    server.answer("GoalService/CreateGoal", goal_pb2.CreateGoalResponse(goal=goal))
    server.answer("GoalService/WatchGoal", [goal_pb2.WatchGoalResponse(goal=goal)])

    def use() -> tuple[GoalState, list[str]]:
        with Client(server.address, api_key="k", ca_certificate=certificates.ca) as client:
            created = client.goals.create("train")
            return created.state, [view.goal.id for view in client.goals.watch(created.id)]

    assert await asyncio.to_thread(use) == (GoalState.SUCCEEDED, ["g-1"])


async def test_blocking_calls_raise_the_same_errors(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("GoalService/GetGoal", Failure(grpc.StatusCode.NOT_FOUND, "no goal g-9", "NOT_FOUND"))

    def use() -> None:
        with Client(server.address, ca_certificate=certificates.ca) as client:
            client.goals.get("g-9")

    with pytest.raises(NotFound, match="no goal g-9"):
        await asyncio.to_thread(use)


def test_closed_client_says_so(certificates: Certificates) -> None:
    client = Client("localhost:1", ca_certificate=certificates.ca)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.goals.get("g-1")


def test_clients_share_one_loop_which_the_last_one_stops(certificates: Certificates) -> None:
    def loops() -> int:
        return sum(thread.name == "orquanta-client" for thread in threading.enumerate())

    before = loops()
    once = RetryPolicy(max_attempts=1)
    first, second = (Client("localhost:1", ca_certificate=certificates.ca, retry=once) for _ in range(2))
    assert loops() == max(1, before)
    first.close()
    with pytest.raises(RuntimeError, match="closed"):
        first.goals.get("g-1")
    with pytest.raises(Unavailable):  # the other goes on
        second.goals.get("g-1")
    second.close()
    assert loops() == before


def test_two_threads_that_stop_one_client_at_once_leave_the_loop_to_the_others() -> None:
    class Slow(LoopThread):
        """Between the look whether it is closed and what comes of it, another thread has a try."""

        rival: threading.Thread | None = None
        closed = False

        @property
        def _closed(self) -> bool:
            closed = self.closed
            if self.rival is None:
                self.rival = threading.Thread(target=self.stop)
                self.rival.start()
                self.rival.join(timeout=0.1)  # it is done by then, or waits for this one
            return closed

        @_closed.setter
        def _closed(self, closed: bool) -> None:
            self.closed = closed

    async def answer() -> int:
        return 42

    other, slow = LoopThread(), Slow()
    try:
        slow.stop()
        assert slow.rival is not None
        slow.rival.join()
        assert other.run(answer()) == 42
    finally:
        other.stop()
