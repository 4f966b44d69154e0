"""The same control plane on PostgreSQL: join, run a goal to its end, be killed in the middle."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orquanta.gameday.fleet import Fleet
from orquanta.types.goals import GoalState
from orquanta.types.jobs import JobState
from tests.e2e.conftest import output, reaches
from tests.postgresql import PostgreSql

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.postgres, pytest.mark.timeout(180)]

COUNTING = (
    "Run `for i in 1 2 3 4 5; do echo $i; sleep 0.2; done; until test -e {end}; do sleep 0.05; done; echo 6` "
    "on 4 H100 for 5 minutes"
)


async def test_a_goal_on_postgresql_survives_a_kill_of_the_control_plane(
    quick_fleet: Callable[..., Fleet], postgresql: PostgreSql, tmp_path: Path
) -> None:
    with postgresql.database() as url:
        async with quick_fleet(database_url=url) as fleet:
            admin = await fleet.client()
            await fleet.add_host(admin, "host", "4xH100")
            end = tmp_path / "end"
            goal = await admin.goals.create(COUNTING.format(end=end))
            queued = await admin.goals.create("Run `echo second` on 4 H100 for 5 minutes")
            (job,) = (await admin.goals.get(goal.id)).jobs
            await reaches(admin, job.id, JobState.RUNNING)
            fleet.control_plane.kill()
            await fleet.start_control_plane()
            end.touch()
            view = await admin.goals.wait(goal.id)
            assert view.goal.state is GoalState.SUCCEEDED, view.goal.status_reason
            assert view.jobs[0].epoch == 1
            assert await output(admin, job.id, follow=True) == b"1\n2\n3\n4\n5\n6\n"
            assert (await admin.goals.wait(queued.id)).goal.state is GoalState.SUCCEEDED
            user = await admin.auth.who_am_i()
            assert user.reserved_usd == 0
            assert user.spent_usd == view.goal.bill.cost_usd + (await admin.goals.get(queued.id)).goal.bill.cost_usd
            assert not (fleet.state / "orquanta.db").exists()
