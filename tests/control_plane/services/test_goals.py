from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from control_plane.model.identity import Role
from control_plane.store import goals, jobs
from control_plane.store.database import Store, Tx
from orquanta.v1 import goal_pb2, job_pb2
from tests.control_plane.services.harness import Client, Fleet, running_fleet
from tests.control_plane.services.refusals import refused
from tests.fake_clock import FakeClock

TEXT = "Train for 1 hour on 2 H100, command: python train.py"


@pytest.fixture
async def fleet(store: Store, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Fleet]:
    """On each kind of database."""
    async with running_fleet(store, clock, tmp_path) as running:
        yield running


async def count(fleet: Fleet) -> tuple[int, int]:
    def read(tx: Tx) -> tuple[int, int]:
        return sum(goals.count_by_state(tx).values()), sum(jobs.count_by_state(tx).values())

    return await fleet.store.read(read)


async def test_a_goal_becomes_jobs_and_is_found_with_its_plan_and_bill(fleet: Fleet, user: Client) -> None:
    made = (await user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text=TEXT))).goal
    assert made.state == goal_pb2.GOAL_STATE_RUNNING
    found = await user.goals.GetGoal(goal_pb2.GetGoalRequest(goal_id=made.id))
    assert found.goal == made
    assert (found.goal.text, found.goal.plan.intent) == (TEXT, "train")
    assert [job.goal_id for job in found.jobs] == [made.id]
    assert found.goal.bill.reserved_usd_micros == found.jobs[0].reserved_usd_micros > 0
    assert user.user
    assert found.goal.user_email == user.user.email


async def test_a_retried_create_makes_one_goal(fleet: Fleet, user: Client) -> None:
    request = goal_pb2.CreateGoalRequest(text=TEXT, request_id="g-1")
    first, again = await user.goals.CreateGoal(request), await user.goals.CreateGoal(request)
    assert first.goal.id == again.goal.id
    assert await count(fleet) == (1, 1)


async def test_a_reused_request_id_with_another_text_is_refused(fleet: Fleet, user: Client) -> None:
    await user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text=TEXT, request_id="g-1"))
    other = goal_pb2.CreateGoalRequest(text=TEXT + " --fast", request_id="g-1")
    outcome = await refused(user.goals.CreateGoal(other))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert await count(fleet) == (1, 1)


@pytest.mark.parametrize(
    ("request_", "field", "reason"),
    [
        (goal_pb2.CreateGoalRequest(text=""), "text", "FIELD_MISSING"),
        (goal_pb2.CreateGoalRequest(text=" \n\t "), "text", "FIELD_MISSING"),
        (goal_pb2.CreateGoalRequest(text="a" * 20_001), "text", "TEXT_TOO_LONG"),
        (goal_pb2.CreateGoalRequest(text="train\x00"), "text", "TEXT_INVALID"),
        (goal_pb2.CreateGoalRequest(text=TEXT, timezone="Mars/Olympus"), "timezone", "TIMEZONE_UNKNOWN"),
        (goal_pb2.CreateGoalRequest(text=TEXT, timezone="../../etc/passwd"), "timezone", "TIMEZONE_UNKNOWN"),
        (goal_pb2.CreateGoalRequest(text=TEXT, budget_usd_micros=-1), "budget_usd_micros", "NUMBER_OUT_OF_RANGE"),
        (goal_pb2.CreateGoalRequest(text=TEXT, budget_usd_micros=2**62), "budget_usd_micros", "NUMBER_OUT_OF_RANGE"),
        (goal_pb2.CreateGoalRequest(text=TEXT, request_id="x" * 129), "request_id", "REQUEST_ID_INVALID"),
    ],
)
async def test_a_bad_goal_is_refused_by_field_and_nothing_changes(
    fleet: Fleet, user: Client, request_: goal_pb2.CreateGoalRequest, field: str, reason: str
) -> None:
    outcome = await refused(user.goals.CreateGoal(request_))
    assert (outcome.code, outcome.fields, outcome.reason) == (grpc.StatusCode.INVALID_ARGUMENT, (field,), reason)
    assert await count(fleet) == (0, 0)


async def test_a_preview_shows_the_plan_and_makes_nothing(fleet: Fleet, user: Client) -> None:
    viewer = await fleet.client(Role.VIEWER)
    preview = await viewer.goals.PreviewGoal(goal_pb2.PreviewGoalRequest(text=TEXT))
    assert len(preview.plan.jobs) == 1
    assert preview.plan.evidence
    assert preview.estimate_usd_micros > 0
    assert await count(fleet) == (0, 0)


async def test_a_person_cannot_cancel_or_answer_somebody_elses_goal_and_an_operator_can(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    made = (await user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text=TEXT))).goal
    stranger = await fleet.client(Role.USER)
    cancel = goal_pb2.CancelGoalRequest(goal_id=made.id, reason="enough", request_id="c-1")
    answer = goal_pb2.AnswerGoalRequest(goal_id=made.id, answers={"gpu_count": "2"})
    for call in (stranger.goals.CancelGoal(cancel), stranger.goals.AnswerGoal(answer)):
        outcome = await refused(call)
        assert (outcome.code, outcome.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_THE_OWNER")
    cancelled = (await operator.goals.CancelGoal(cancel)).goal
    assert cancelled.state == goal_pb2.GOAL_STATE_CANCELLED
    assert (await operator.goals.CancelGoal(cancel)).goal == cancelled
    found = await user.goals.GetGoal(goal_pb2.GetGoalRequest(goal_id=made.id))
    assert found.jobs[0].state == job_pb2.JOB_STATE_CANCELLED


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({}, "FIELD_MISSING"),
        ({"": "2"}, "FIELD_UNKNOWN"),
        ({"gpu_count": ""}, "FIELD_MISSING"),
        ({"gpu_count": "x" * 2_001}, "TEXT_TOO_LONG"),
        ({f"a{number}": "1" for number in range(65)}, "LIST_TOO_LONG"),
    ],
)
async def test_bad_answers_are_refused(user: Client, answers: dict[str, str], reason: str) -> None:
    call = user.goals.AnswerGoal(goal_pb2.AnswerGoalRequest(goal_id="g-0123456789ab", answers=answers))
    assert (await refused(call)).reason == reason


async def test_answering_a_goal_that_asks_nothing_is_refused(user: Client) -> None:
    made = (await user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text=TEXT))).goal
    call = user.goals.AnswerGoal(goal_pb2.AnswerGoalRequest(goal_id=made.id, answers={"gpu_count": "2"}))
    outcome = await refused(call)
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GOAL_ASKS_NOTHING")


async def test_goals_are_listed_newest_first_by_filter(fleet: Fleet, user: Client, operator: Client) -> None:
    made = []
    for number in range(3):
        request = goal_pb2.CreateGoalRequest(text=f"{TEXT} {number}")
        made.append((await user.goals.CreateGoal(request)).goal.id)
        fleet.clock.advance(1)
    theirs = (await operator.goals.CreateGoal(goal_pb2.CreateGoalRequest(text=TEXT))).goal.id
    assert user.user
    page = await operator.goals.ListGoals(goal_pb2.ListGoalsRequest(user_id=user.user.id, page_size=2))
    assert [goal.id for goal in page.goals] == made[:0:-1]
    rest = goal_pb2.ListGoalsRequest(user_id=user.user.id, page_size=2, page_token=page.next_page_token)
    assert [goal.id for goal in (await operator.goals.ListGoals(rest)).goals] == made[:1]
    everybody = goal_pb2.ListGoalsRequest(states=[goal_pb2.GOAL_STATE_RUNNING])
    assert (await user.goals.ListGoals(everybody)).goals[0].id == theirs


async def test_a_page_token_of_other_filters_is_refused(fleet: Fleet, user: Client) -> None:
    for number in range(2):
        await user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text=f"{TEXT} {number}"))
    token = (await user.goals.ListGoals(goal_pb2.ListGoalsRequest(page_size=1))).next_page_token
    assert user.user
    other = goal_pb2.ListGoalsRequest(page_size=1, page_token=token, user_id=user.user.id)
    outcome = await refused(user.goals.ListGoals(other))
    assert (outcome.reason, outcome.fields) == ("PAGE_TOKEN_INVALID", ("page_token",))
    assert (await user.goals.ListGoals(goal_pb2.ListGoalsRequest(page_size=5, page_token=token))).goals
