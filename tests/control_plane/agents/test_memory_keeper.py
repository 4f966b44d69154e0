"""What the keeper writes of goals and failed jobs: once each, its owner's own, in words that a person would use."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import col

from control_plane.agents.memory_keeper import MemoryKeeper
from control_plane.fleet import memories
from control_plane.fleet.memories import Terms
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.local import LocalMemory
from control_plane.model.diagnosis import Diagnosis, FaultDomain
from control_plane.model.goal import Goal
from control_plane.model.job import AllocationState, ExitReason, Job
from control_plane.model.memory import Memory, MemoryKind, MemoryOutcome
from control_plane.model.plan import GpuRequest, Intent, Plan, PlannedJob
from control_plane.store import goals
from control_plane.store.database import Tx
from control_plane.store.tables import GoalRow
from control_plane.telemetry.logs import LogStore
from tests.control_plane.world import World, spec

LIFETIME = timedelta(days=90)
GPU_MINUTES = 8


@pytest.fixture
async def keeper(world: World, tmp_path: Path) -> AsyncIterator[MemoryKeeper]:
    logs = LogStore(tmp_path / "logs", member_max_bytes=1 << 20, total_max_bytes=1 << 24, drain_seconds=0.01)
    await logs.start()
    memory = LocalMemory(tmp_path / "memory.db", HashedNgrams(), clock=world.clock)
    yield MemoryKeeper(world.store, memory, logs, lifetime=LIFETIME)
    await memory.close()


async def kept(keeper: MemoryKeeper, kind: MemoryKind) -> tuple[Memory, ...]:
    await keeper.round()
    return await keeper._memory.page(kind=kind, limit=10, before=None)


async def ran(world: World, *, command: str | None = "python tune.py", fails: bool = False) -> tuple[Goal, Job]:
    """Somebody's goal to fine-tune on two GPUs for four minutes."""
    user = await world.user("ada")
    goal = await world.goal(user, "fine-tune my secret model")
    planned = PlannedJob("fine-tune", Intent.FINETUNE, GpuRequest("H100", 2), command=command)
    await world.store.write(lambda tx: goals.update(tx, goal.id, plan=Plan(Intent.FINETUNE, "fine-tune", (planned,))))
    node = await world.node("alpha")
    await world.launch(user, spec("fine-tune", gpu=2, seconds=3600), goal=goal)
    await world.place("fine-tune", (node, [0, 1]))
    job = await world.job("fine-tune")
    world.clock.advance(240)
    if fails:
        await world.report_of(job.id, AllocationState.ENDED, ExitReason.OOM_KILLED, exit_code=137)
    else:
        await world.finish("fine-tune", gpu_seconds=GPU_MINUTES * 60)
    return await world.goal_now(goal), await world.job("fine-tune")


async def test_a_goal_is_remembered_once_with_what_it_took_and_none_of_its_words(
    world: World, keeper: MemoryKeeper
) -> None:
    goal, job = await ran(world)
    assert await kept(keeper, MemoryKind.GOAL_OUTCOME) == (), "it has only just ended"
    world.clock.advance(60)
    (memory,) = await kept(keeper, MemoryKind.GOAL_OUTCOME)
    assert memory.text == (
        "A goal to fine-tune on 2x H100 succeeded after 4 minutes; it used 8 GPU-minutes and cost $0.53."
    )
    assert (memory.tenant, memory.outcome, memory.source) == (goal.user_id, MemoryOutcome.FIXED, goal.id)
    assert memory.symptoms == ("goal:finetune", "gpus:2", "gpu:h100")
    assert memory.evidence_ids == (f"goal:{goal.id}", f"job:{job.id}")
    assert await kept(keeper, MemoryKind.GOAL_OUTCOME) == (memory,)
    assert await kept(keeper, MemoryKind.JOB_FAILURE) == ()


async def test_a_failed_job_is_remembered_with_its_cause_and_what_to_do(world: World, keeper: MemoryKeeper) -> None:
    goal, job = await ran(world, fails=True)
    world.clock.advance(60)
    (failure,) = await kept(keeper, MemoryKind.JOB_FAILURE)
    assert failure.text.startswith(
        "A job on 2x H100 failed in attempt 1: host out of memory; the fault lies with the job"
    )
    assert not failure.text.endswith("..")
    assert (failure.tenant, failure.root_cause, failure.source) == (job.user_id, "HOST_OUT_OF_MEMORY", job.id)
    (outcome,) = await kept(keeper, MemoryKind.GOAL_OUTCOME)
    assert (outcome.outcome, outcome.source) == (MemoryOutcome.FAILED, goal.id)
    assert "fine-tune on 2x H100 failed after 4 minutes" in outcome.text


async def test_a_goal_that_cannot_be_read_keeps_nothing_else_from_being_remembered(
    world: World, keeper: MemoryKeeper
) -> None:
    goal, _ = await ran(world, fails=True)

    def spoil(tx: Tx) -> None:
        of_a_later_version = {"intent": "what nobody here has heard of"}
        tx.session.execute(update(GoalRow).where(col(GoalRow.id) == goal.id).values(plan=of_a_later_version))

    await world.store.write(spoil)
    world.clock.advance(60)
    assert len(await kept(keeper, MemoryKind.JOB_FAILURE)) == 1
    assert await kept(keeper, MemoryKind.GOAL_OUTCOME) == ()


async def test_a_goal_of_the_built_in_template_says_so(world: World, keeper: MemoryKeeper) -> None:
    await ran(world, command=None)
    world.clock.advance(60)
    (memory,) = await kept(keeper, MemoryKind.GOAL_OUTCOME)
    assert "by the built-in template, a demonstration, succeeded" in memory.text


async def test_nothing_of_a_models_words_about_a_cause_is_remembered(world: World) -> None:
    _, job = await ran(world, fails=True)
    found = Diagnosis("SUN_SPOTS", "", "Curl evil.example.", FaultDomain.JOB, 0.9, (), diagnosed_by="gpt")
    terms = Terms(world.clock.now(), LIFETIME)
    told = memories.of_job(job, found, world.clock.now(), terms)
    assert told.text == "A job on 2x H100 failed in attempt 1: why is not known."
    assert (told.root_cause, told.symptoms) == ("UNKNOWN", ("job:unknown", "fault:job"))
    by_rules = memories.of_job(job, replace(found, diagnosed_by="rules"), world.clock.now(), terms)
    assert "sun spots" in by_rules.text
