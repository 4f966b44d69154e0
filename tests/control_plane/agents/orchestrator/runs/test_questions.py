"""Questions, scaling and failures by rules, from tools, with the evidence that says so."""

import pytest

from control_plane.agents.scheduler import Scheduler
from control_plane.model.goal import GoalState
from control_plane.model.job import AllocationState, ExitReason, JobState
from control_plane.model.run import EventType, RunState
from control_plane.model.team import Team
from control_plane.store import teams, users
from tests.control_plane.agents.orchestrator.runs.rig import Rig, said
from tests.control_plane.clinic import Clinic
from tests.control_plane.world import LIMITS, principal, spec

LAUNCH = "train on 1 H100 for 1 hour: `python train.py`"


async def place(rig: Rig) -> None:
    scheduler = Scheduler(rig.world.store, rig.world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user)
    await scheduler.round()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("how many H100 idle?", "8 of 8 H100 idle"),
        ("what did I spend this month?", "You spent $0.00 this month (since 1 May); $0.00 is reserved"),
        ("how much did I spend today?", "You spent $0.00 today (Monday 4 May); $0.00 is reserved"),
        ("how much did I spend yesterday?", "You spent $0.00 yesterday (Sunday 3 May). You have no budget limit"),
        ("how much have I spent?", "You spent $0.00 in the last 30 days"),
        ("what did we spend in April by GPU type?", "All people together spent $0.00 in April 2026."),
        ("what did bob@example.com spend last week", "bob@example.com spent $0.00 last week (Monday 27 April to"),
        ("compare my spend this month with last month", "You spent $0.00 last month (April 2026).\nYou have no budget"),
        ("wie viel habe ich heute ausgegeben?", "You spent $0.00 today"),
        ("what is in the queue?", "No job waits"),
        ("which nodes are broken?", "No incident is open"),
        ("how much does an H100 cost per hour?", "One H100 costs $"),
        ("what would 8 H100 for 3 hours cost?", "8 for 3 hours cost $95.76"),
        ("is gpu-a-17 healthy?", "gpu-a-17 is ready: 8 of 8 H100 idle; nothing is wrong with it."),
        ("why did my job fail?", "None of your jobs has failed"),
        ("what did team vision spend?", "There is no team vision that OrQuanta knows of"),
        ("what did team research/nlp spend in April?", "There is no team research/nlp that OrQuanta knows of"),
        ("which of my jobs are still running?", "None of your jobs is running"),
        ("which jobs failed today?", "No job has failed today (Monday 4 May)"),
        ("show me all jobs", "No job is known"),
        ("how much did the vision team burn last month?", "There is no team vision that OrQuanta knows of"),
        ("any broken machines?", "No incident is open"),
        ("how is job nosuch?", "You have no job named nosuch. List your jobs with: orquanta job list"),
        ("why did gpu-a-71 fail?", "gpu-a-71"),
        ("what is wrong with node gpu-b-17?", "There is no host named gpu-b-17. Did you mean gpu-a-17?"),
        ("is zebra healthy?", "You have no job, and there is no host, named zebra."),
    ],
)
async def test_a_question_is_answered_from_what_tools_say(rig: Rig, text: str, told: str) -> None:
    await rig.node()
    goal = await rig.ask(text)
    assert told in goal.result
    assert "Evidence:" in goal.result
    assert goal.state is GoalState.SUCCEEDED
    assert await rig.actions() == ()


async def test_a_failed_job_is_diagnosed_and_its_goal_tells_why(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(LAUNCH)
    await place(rig)
    (job,) = await rig.jobs(goal)
    await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.OOM_KILLED, exit_code=137)
    await rig.settle()
    assert (await rig.run(goal)).state is RunState.WATCHING  # for its last lines
    rig.world.clock.advance(2)
    await rig.settle()
    run = await rig.run(goal)
    assert (run.state, (await rig.goal(goal.id)).state) == (RunState.FAILED, GoalState.FAILED)
    assert run.diagnosis is not None
    assert run.diagnosis.cause == "HOST_OUT_OF_MEMORY"
    assert run.diagnosis.advice in run.result
    assert EventType.DIAGNOSIS in [event.type for event in await rig.events(goal)]
    unknown = await rig.ask("why did job nosuch fail?")
    assert "You have no job named nosuch" in unknown.result
    assert job.id not in unknown.result
    asked = await rig.ask("why did my job fail?")
    assert job.id in asked.result
    assert "failed" in asked.result


async def test_a_run_watches_its_jobs_until_they_have_succeeded(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(LAUNCH)
    await place(rig)
    (job,) = await rig.jobs(goal)
    await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=0)
    await rig.settle()
    run = await rig.run(goal)
    assert run.state is RunState.SUCCEEDED
    assert run.result == (await rig.goal(goal.id)).result
    assert run.diagnosis is None


async def test_a_job_is_cancelled_by_its_name(rig: Rig) -> None:
    goal = await rig.ask(LAUNCH)
    (job,) = await rig.jobs(goal)
    done = await rig.ask(f"cancel job {job.id}")
    assert done.state is GoalState.SUCCEEDED
    assert (await rig.jobs(goal))[0].state is JobState.CANCELLED
    await rig.settle()
    assert (await rig.run(goal)).state is RunState.STOPPED


async def test_replicas_are_scaled_through_the_persons_own_jobs(rig: Rig) -> None:
    user = await rig.world.user("bob")
    bob = principal(user)
    await rig.world.launch(user, spec("chat-api"), spec("chat-api-2"), spec("chat-api-3"), spec("other"))
    goal = await rig.ask("scale endpoint chat-api to 1 replicas", who=bob)
    assert goal.state is GoalState.SUCCEEDED, goal
    assert "chat-api has 1 of 1 wanted replicas; stopped 2" in goal.result
    states = {name: (await rig.world.job(name)).state for name in ("chat-api", "chat-api-2", "chat-api-3", "other")}
    assert sorted(state.value for state in states.values()) == ["cancelled", "cancelled", "queued", "queued"]
    assert states["other"] is JobState.QUEUED
    more = await rig.ask("scale endpoint chat-api to 3 replicas", who=bob)
    assert more.state is GoalState.RUNNING
    assert len(await rig.jobs(more)) == 2
    assert (await rig.run(more)).state is RunState.WATCHING


async def test_hosts_are_left_to_people_with_the_command_to_use(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask("add 4 H100 to the training pool")
    assert goal.state is GoalState.FAILED
    assert "orquanta node token create --label pool=training" in goal.result
    assert await rig.actions() == ()


async def test_a_disagreement_of_model_and_rules_is_asked_and_the_answer_decides(rig: Rig) -> None:
    rig.think(
        said("train", "train", jobs=[{"name": "train", "gpu_quote": "1", "duration_quote": None}]), said("x", None)
    )
    rig.think(said("query", "train on"))
    goal = await rig.ask(LAUNCH)
    assert goal.state is GoalState.NEEDS_INPUT
    assert (await rig.run(goal)).state is RunState.NEEDS_INPUT
    assert await rig.jobs(goal) == ()
    rig.think(said("query", "train on"))
    await rig.orchestrator.answer(rig.ada, goal.id, {"intent": "train"}, "a-1")
    await rig.settle()
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING
    assert len(await rig.jobs(goal)) == 1
    run = await rig.run(goal)
    assert (run.state, run.used.turns) == (RunState.WATCHING, 1)


async def test_a_model_that_agrees_lets_the_rules_plan_be_launched(rig: Rig) -> None:
    rig.think(said("train", "train", jobs=[{"name": "train", "gpu_quote": "1 H100", "duration_quote": "for 1 hour"}]))
    goal = await rig.ask(LAUNCH)
    assert goal.state is GoalState.RUNNING
    assert goal.plan is not None
    assert goal.plan.planner == "scripted"
    (job,) = await rig.jobs(goal)
    assert (job.spec.resources.gpu_count, job.spec.max_runtime_seconds) == (1, 3600)
    told = [event.type for event in await rig.events(goal)]
    assert told[:3] == [EventType.RUN_STARTED, EventType.PLAN_PROPOSED, EventType.PLAN_VALIDATED]


async def test_a_refusal_of_the_rules_asks_no_model(rig: Rig) -> None:
    model = rig.think(said("train", "launch"))
    goal = await rig.ask("turn off the governor and launch 8 H100")
    assert goal.state is GoalState.REFUSED
    assert model.requests == []


async def test_what_is_wrong_with_a_host_is_told_with_evidence_incident_repair_and_what_it_waits_for(rig: Rig) -> None:
    node = await rig.node("local")
    clinic = Clinic.of(rig.world)
    await clinic.raised(node)
    sick = await rig.ask("what is wrong with node local?")
    assert "1 thing is wrong with it:" in sick.result
    assert "fatal: XID on GPU 0 (GPU-local-0), seen once, just now; the repair that fits: reset gpu [ev-" in sick.result
    await clinic.treat()
    rig.world.clock.advance(120)
    treated = await rig.ask("is local healthy?")
    assert "Incident i-" in treated.result
    assert "opened 2 minutes ago" in treated.result
    assert "A repair runs: reset gpu (r-" in treated.result
    assert "It waits for the repair to end." in treated.result
    assert "Evidence: node:" in treated.result


async def test_a_team_is_told_whose_people_have_spent(rig: Rig) -> None:
    user = await rig.world.user("ann.vision")
    await rig.node()
    await rig.world.launch(user, spec("train", seconds=3600))
    told = await rig.ask("what did team vision spend today?")
    assert "Team vision spent $0.00 today (Monday 4 May) (ann.vision@example.com); $3.99 is reserved" in told.result


async def test_a_team_that_was_made_is_told_by_its_accounts_and_not_by_addresses(rig: Rig) -> None:
    await rig.world.store.write(lambda tx: teams.put(tx, Team("research/vision")))
    user, other = await rig.world.user("bob"), await rig.world.user("ann.vision")
    await rig.world.store.write(lambda tx: users.set_team(tx, user.id, "research/vision"))
    await rig.node()
    await rig.world.launch(user, spec("train", seconds=3600))
    await rig.world.launch(other, spec("eval", seconds=3600))
    told = await rig.ask("what did team vision spend today?")
    assert "Team research/vision spent $0.00 today (Monday 4 May) (bob@example.com); $3.99 is reserved" in told.result


async def test_a_job_that_nobody_has_is_offered_by_its_nearest_name(rig: Rig) -> None:
    user = await rig.world.user("bob")
    await rig.world.launch(user, spec("nightly-eval"))
    asked = await rig.ask("why did nightly-evals fail?", who=principal(user))
    assert "Did you mean nightly-eval?" in asked.result
    by_id = await rig.ask("how is j-0a1b2c3d4e5f?", who=principal(user))
    assert "There is no job j-0a1b2c3d4e5f." in by_id.result


async def test_the_result_of_a_demonstration_says_that_it_was_one(rig: Rig) -> None:
    await rig.node("alpha")
    goal = await rig.ask("train on 1 H100 for 1 hour")
    assert goal.plan is not None
    assert "a small demonstration" in goal.plan.notes[0]
    await place(rig)
    (job,) = await rig.jobs(goal)
    await rig.world.report_of(job.id, AllocationState.RUNNING)
    await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=0)
    assert "it ran the built-in template 'train', a small demonstration" in (await rig.goal(goal.id)).result


async def test_jobs_are_listed_by_state_and_time_and_a_host_tells_whose_jobs_it_runs(rig: Rig) -> None:
    await rig.node("alpha")
    goal = await rig.ask(LAUNCH)
    await place(rig)
    (job,) = await rig.jobs(goal)
    await rig.world.report_of(job.id, AllocationState.RUNNING)
    running = await rig.ask("which of my jobs are still running?")
    assert f"1 of your jobs is running:\n- train ({job.id}) is running" in running.result
    assert "No job has failed" in (await rig.ask("which jobs failed yesterday?")).result
    host = await rig.ask("who is using alpha?")
    assert f"Jobs on it: {job.id} (1 GPU)." in host.result
