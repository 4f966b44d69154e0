"""Two control planes over one PostgreSQL and a cluster of three NATS servers, of which parts are stopped and killed."""

import asyncio
import signal
from pathlib import Path

import pytest

from orquanta.client import AsyncClient
from orquanta.types.goals import GoalState
from orquanta.types.jobs import JobState
from tests.e2e.conftest import output, reaches
from tests.e2e.replicas import Replica, ReplicatedFleet
from tests.postgresql import PostgreSql
from tests.standstill import stand_still

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.postgres, pytest.mark.timeout(240)]

LONG = "Run `for i in $(seq 1 14); do echo $i; sleep 0.5; done` on 4 H100 for 5 minutes"
SHORT = "Run `echo done` on 4 H100 for 5 minutes"


async def served(client: AsyncClient, request_id: str) -> str:
    """Submit a goal twice, as a client does that has lost the answer, and return its id once it is served."""
    goal = await client.goals.create(SHORT, request_id=request_id)
    again = await client.goals.create(SHORT, request_id=request_id)
    assert again.id == goal.id
    view = await client.goals.wait(goal.id)
    assert view.goal.state is GoalState.SUCCEEDED, view.goal.status_reason
    assert [job.epoch for job in view.jobs] == [1]
    return goal.id


async def linked_to(client: AsyncClient, replica: Replica, hosts: int) -> None:
    async with asyncio.timeout(30):
        while True:
            told = await client.agents.replicas()
            if any(one.name == replica.name and one.links == hosts for one in told.replicas):
                return
            await asyncio.sleep(0.05)


async def test_the_lead_passes_on_when_its_holder_is_stopped_or_killed_and_nothing_is_lost_or_done_twice(
    tmp_path: Path, postgresql: PostgreSql
) -> None:
    with postgresql.database() as url:
        async with ReplicatedFleet(tmp_path / "fleet", url) as fleet:
            clients = {one.name: await fleet.client(one) for one in fleet.replicas}
            first = await fleet.leader(clients["alpha"])
            (second,) = [one for one in fleet.replicas if one is not first]
            here, there = clients[first.name], clients[second.name]
            # Hosts that join at one replica know of both, and spread over them.
            await fleet.add_host(there, second.server, "one", "4xH100")
            await fleet.add_host(here, first.server, "two", "4xH100")
            epoch = (await there.agents.replicas()).control_epoch

            # The leader stands still in the midst of its work: the other takes over, and its word counts no more.
            goal = await here.goals.create(LONG)
            (job,) = (await there.goals.get(goal.id)).jobs
            await reaches(there, job.id, JobState.RUNNING)
            stand_still(first.program.pid)
            assert await fleet.leader(there, other_than=first.name) is second
            assert (await there.agents.replicas()).control_epoch > epoch
            await linked_to(there, second, 2)
            await served(there, "while-it-stands")
            first.program.signal(signal.SIGCONT)
            told = await here.agents.replicas()
            assert [one.name for one in told.replicas if one.leads] == [second.name]
            view = await here.goals.wait(goal.id)
            assert view.goal.state is GoalState.SUCCEEDED, view.goal.status_reason
            assert view.jobs[0].epoch == 1
            whole = b"".join(b"%d\n" % number for number in range(1, 15))
            # Each replica has the output of all jobs, whoever ran them.
            assert await output(here, job.id, follow=True) == whole
            assert await output(there, job.id, follow=True) == whole

            # Its successor is killed, and a goal is submitted at once.
            second.program.kill()
            during = await served(here, "while-it-dies")
            assert await fleet.leader(here, other_than=second.name) is first
            await linked_to(here, first, 2)

            # One server of the cluster is gone for good.
            fleet.nats.kill(0)
            last = await served(here, "with-two-servers")
            assert len({goal.id, during, last}) == 3
            assert (await here.auth.who_am_i()).reserved_usd == 0
            assert (await here.audit.verify()).intact
