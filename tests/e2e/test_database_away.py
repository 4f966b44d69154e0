"""A database server that drops every connection again and again while jobs run: nothing ends that should go on."""

import asyncio
from collections.abc import Callable

import pytest

from orquanta.gameday.fleet import Fleet
from orquanta.types.goals import GoalState
from tests.postgresql import PostgreSql

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.postgres, pytest.mark.timeout(180)]

_DROP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname LIKE 'test_%' AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


async def test_a_control_plane_outlives_its_connections_to_the_database(
    quick_fleet: Callable[..., Fleet], postgresql: PostgreSql
) -> None:
    with postgresql.database() as url:
        async with quick_fleet(database_url=url) as fleet:
            admin = await fleet.client()
            await fleet.add_host(admin, "host", "4xH100")
            before = fleet.control_plane.pid
            for number in range(6):
                goal = await admin.goals.create(f"Run `sleep 0.5; echo {number}` on 4 H100 for 5 minutes")
                for _ in range(5):
                    await asyncio.to_thread(postgresql.execute, _DROP)
                view = await admin.goals.wait(goal.id)
                assert view.goal.state is GoalState.SUCCEEDED, view.goal.status_reason
                assert view.jobs[0].epoch == 1
            assert fleet.control_plane.pid == before
