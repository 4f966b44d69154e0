"""When, how often and for whom a model is asked why a job failed, and who pays."""

import asyncio

import pytest

from control_plane.model.identity import Role
from control_plane.reasoning.contract import ModelReply, ModelRequest
from control_plane.reasoning.errors import ModelUnavailable
from control_plane.store import diagnoses
from control_plane.store.database import Tx
from control_plane.tools.diagnosing import PER_HOUR, Asker
from control_plane.tools.job_diagnoses import JobDiagnoses
from tests.control_plane.tools.bench import Bench
from tests.control_plane.tools.desk import failed, said
from tests.control_plane.world import job_id, principal


async def test_a_model_is_asked_once_for_an_attempt_whoever_asks_and_after_a_restart(bench: Bench) -> None:
    desk = await failed(bench, [said("E2")])
    first = await desk.why()

    viewer = principal(await bench.account("eve", Role.VIEWER))
    assert await desk.why(viewer) == first
    bench.world.clock.advance(3600)
    assert await desk.why() == first
    assert len(desk.model.requests) == 1


async def test_asking_for_the_rules_own_cause_costs_nothing(bench: Bench) -> None:
    desk = await failed(bench, [], "torch.OutOfMemoryError: CUDA out of memory.\n")

    found = await desk.why()

    assert (found.cause, found.by_rules, found.note) == ("GPU_OUT_OF_MEMORY", True, "")
    assert desk.model.requests == []


async def test_only_who_may_act_on_the_job_causes_a_model_to_be_asked(bench: Bench) -> None:
    desk = await failed(bench, [said("E2")])

    for name, role in (("eve", Role.VIEWER), ("bob", Role.USER)):
        other = await desk.why(principal(await bench.account(name, role)))
        assert other.by_rules
        assert "owner" in other.note
    assert desk.model.requests == []
    assert not (await desk.why(principal(await bench.account("olga", Role.OPERATOR)))).by_rules


async def test_an_endpoint_that_is_down_leaves_the_rules_answer_and_is_asked_again_later(bench: Bench) -> None:
    desk = await failed(bench, [ModelUnavailable("it is down"), said("E2")])

    found = await desk.why()
    assert (found.cause, found.by_rules) == ("PROGRAM_FAILED", True)
    assert "it is down" in found.note
    assert (await desk.why()).note == found.note
    assert len(desk.model.requests) == 1

    bench.world.clock.advance(601)
    assert (await desk.why()).cause == "DATA_INVALID"


async def test_a_model_that_is_never_there_is_asked_three_times_at_most(bench: Bench) -> None:
    desk = await failed(bench, lambda _: ModelUnavailable("it is down"))
    for _ in range(6):
        assert (await desk.why()).by_rules
        bench.world.clock.advance(601)
    assert len(desk.model.requests) == 3


async def test_the_hour_of_one_person_is_bounded(bench: Bench) -> None:
    world = bench.world
    desk = await failed(bench, [said("E2")])

    def spend(tx: Tx) -> None:
        for number in range(PER_HOUR):
            diagnoses.begin(tx, f"job:{number}", "", user_id=desk.owner.user_id)

    await world.store.write(spend)
    assert f"{PER_HOUR} diagnoses" in (await desk.why()).note
    world.clock.advance(3601)
    assert (await desk.why()).cause == "DATA_INVALID"


class Slow:
    """A model that never answers."""

    available = True
    model_name = "slow"

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def ask(self, request: ModelRequest, *, on_delta: object = None) -> ModelReply:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError(request, on_delta)


async def test_a_model_that_does_not_answer_in_time_leaves_the_rules_answer(bench: Bench) -> None:
    desk, slow = await failed(bench, []), Slow()
    diagnoses = JobDiagnoses(bench.world.store, bench.logs, bench.telemetry, Asker(bench.world.store, slow))
    _, found = await diagnoses.of_job(desk.owner, job_id("train"), seconds=0.01)
    assert (found.cause, found.by_rules) == ("PROGRAM_FAILED", True)
    assert "no answer within" in found.note


async def test_who_leaves_before_a_model_has_answered_leaves_nothing_undone(bench: Bench) -> None:
    desk, slow = await failed(bench, [said("E2")]), Slow()
    diagnoses = JobDiagnoses(bench.world.store, bench.logs, bench.telemetry, Asker(bench.world.store, slow))
    asking = asyncio.ensure_future(diagnoses.of_job(desk.owner, job_id("train"), seconds=30))
    await slow.asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert "left before it had answered" in (await desk.why()).note
    bench.world.clock.advance(601)
    assert (await desk.why()).cause == "DATA_INVALID"


async def test_all_who_ask_at_once_get_the_one_answer(bench: Bench) -> None:
    desk = await failed(bench, [said("E2")])
    diagnoses = desk.diagnoses
    found = await asyncio.gather(*(diagnoses.of_job(desk.owner, job_id("train")) for _ in range(5)))
    assert {diagnosis.cause for _, diagnosis in found} == {"DATA_INVALID"}
    assert len(desk.model.requests) == 1


async def test_who_had_the_model_asked_and_the_goal_pay(bench: Bench) -> None:
    desk = await failed(bench, [said("E2")])
    await desk.why()
    purpose = desk.model.requests[0].purpose
    assert (purpose.agent_name, purpose.user_id) == ("diagnosis", desk.owner.user_id)
