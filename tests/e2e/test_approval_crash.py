"""The control plane is killed while people approve: what is approved is carried out exactly once, or not at all."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet
from orquanta.types.accounts import Role
from orquanta.types.actions import Action, ActionState
from orquanta.types.jobs import JobSpec, ResourceRequest

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(240)]

# Between no time and about what an approval takes here: before, in the midst of, and after its commit.
DELAYS_SECONDS = (0.0, 0.004, 0.01, 0.02, 0.05)


async def asked(researcher: AsyncClient, admin: AsyncClient, name: str) -> Action:
    """Submit a job that must be approved, and return the action that waits."""
    spec = JobSpec(name, ResourceRequest(8, ("H100",)), command="true", max_runtime_seconds=48 * 3600)
    await researcher.jobs.submit(spec)
    waiting = [one async for one in admin.actions.list(states=[ActionState.AWAITING_APPROVAL])]
    assert len(waiting) == 1
    return waiting[0]


async def effects(admin: AsyncClient, action: Action) -> tuple[int, int]:
    """Return how many jobs and how many records of a done launch there are for an action."""
    name = action.summary.split()[1]
    jobs = [one async for one in admin.jobs.list() if one.spec.name == name]
    done = [one async for one in admin.audit.list(action_id=action.id) if one.action == "launch_jobs.done"]
    return len(jobs), len(done)


async def test_a_kill_at_any_moment_of_an_approval_leaves_it_whole_or_undone(
    quick_fleet: Callable[..., Fleet],
) -> None:
    async with quick_fleet() as fleet:
        admin = await fleet.client()
        researcher = await fleet.person(admin, "rosa@example.com", Role.USER)
        for number, delay in enumerate(DELAYS_SECONDS):
            action = await asked(researcher, admin, f"job-{number}")
            request_id = f"approve-{number}"
            call = asyncio.create_task(admin.actions.approve(action.id, action.hash, request_id=request_id))
            await asyncio.sleep(delay)
            fleet.control_plane.kill()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await fleet.start_control_plane()
            found = await admin.actions.get(action.id)
            if found.state is ActionState.AWAITING_APPROVAL:
                assert found.approvals == ()
                assert await effects(admin, action) == (0, 0)
            else:
                assert (found.state, len(found.approvals)) == (ActionState.DONE, 1)
            done = await admin.actions.approve(action.id, action.hash, request_id=request_id)
            assert (done.state, len(done.approvals)) == (ActionState.DONE, 1)
            assert await effects(admin, action) == (1, 1)


async def settled(admin: AsyncClient, action: Action) -> None:
    """Wait until an action is done."""
    for _ in range(300):
        if (await admin.actions.get(action.id)).state is ActionState.DONE:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{action.id} was not carried out in 30 s")


@contextlib.contextmanager
def books(fleet: Fleet) -> Iterator[sqlite3.Connection]:
    """Open the database of a control plane that was killed."""
    connection = sqlite3.connect(fleet.state / "orquanta.db", timeout=30)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


async def test_what_was_approved_and_not_carried_out_when_it_was_killed_is_carried_out_once(
    quick_fleet: Callable[..., Fleet],
) -> None:
    async with quick_fleet() as fleet:
        admin = await fleet.client()
        researcher = await fleet.person(admin, "rosa@example.com", Role.USER)
        action = await asked(researcher, admin, "left")
        me = await admin.auth.who_am_i()
        fleet.control_plane.kill()
        with books(fleet) as database:
            (at,) = database.execute("SELECT created_at FROM actions WHERE id = ?", (action.id,)).fetchone()
            database.execute(
                "INSERT INTO approvals (action_id, user_id, approver, hash, policy_version, estimate_usd_micros, "
                "reason, approved_at, void_reason) VALUES (?, ?, ?, ?, '', ?, '', ?, '')",
                (action.id, me.id, me.email, action.hash, int(action.estimate_usd * 1_000_000), at),
            )
            database.execute("UPDATE actions SET state = 'approved' WHERE id = ?", (action.id,))
        for _ in range(2):
            await fleet.start_control_plane()
            await settled(admin, action)
            assert await effects(admin, action) == (1, 1)
            fleet.control_plane.kill()
        await fleet.start_control_plane()
        assert await effects(admin, action) == (1, 1)
