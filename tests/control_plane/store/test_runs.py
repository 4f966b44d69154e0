"""Runs, their steps and their events, on each kind of database."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from control_plane.errors import PreconditionFailed
from control_plane.model.diagnosis import Diagnosis, EvidenceItem, EvidenceKind, FaultDomain
from control_plane.model.ids import ACTION, GOAL, JOB, NODE, RUN, RunId, derived_id
from control_plane.model.record import Noun
from control_plane.model.run import EventType, RunState, RunUsage
from control_plane.model.run_step import Intent, NewRun, Outcome, StepKind
from control_plane.model.tool import ToolEffect
from control_plane.store import audit, events, run_events, run_steps, runs
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import PageRequest
from control_plane.store.runs import RunFilter
from tests.fake_clock import FakeClock

GOAL_ID = derived_id(GOAL, "one")
RUN_ID = derived_id(RUN, "one")
JOB_ID = derived_id(JOB, "one")
NEW = NewRun(RUN_ID, "master_orchestrator", GOAL_ID, None, "rules", frozenset({("repair_node", "n-1")}))
CALL = Intent(StepKind.TOOL, "get_node", '{"node": "\\u0000alpha"}', ToolEffect.READ, 1, "c-1", "look")
TOLD = Outcome(
    "ok",
    {"node": {"name": "alpha"}, "text": "línea \N{SNOWMAN}"},
    shown="alpha",
    stored="x" * 50_000,
    evidence_id="node:n-1",
    action_id=derived_id(ACTION, "one"),
    untrusted=True,
    input_tokens=100,
    output_tokens=7,
    cost_usd=Decimal("0.001234"),
    seconds=1.5,
    model="m",
)


@pytest.fixture
async def begun(store: Store) -> Store:
    await store.write(lambda tx: runs.insert(tx, NEW))
    return store


async def test_a_run_is_inserted_once(begun: Store) -> None:
    again = await begun.write(lambda tx: runs.insert(tx, replace(NEW, reasoner="other")))
    assert again.reasoner == "rules"
    book = await begun.read(lambda tx: runs.book(tx, RUN_ID))
    assert book is not None
    assert book.planned == {("repair_node", "n-1")}
    assert (await begun.read(lambda tx: runs.of_goal(tx, GOAL_ID))) == again
    assert await begun.read(lambda tx: runs.ids_of_goals(tx, [GOAL_ID, derived_id(GOAL, "two")])) == {GOAL_ID: RUN_ID}


async def test_a_step_comes_back_as_it_was_written(begun: Store) -> None:
    intended = await begun.write(lambda tx: run_steps.begin(tx, RUN_ID, 1, CALL))
    assert (intended.intent, intended.outcome, intended.key) == (CALL, None, f"{RUN_ID}/1")
    assert await begun.write(lambda tx: run_steps.finish(tx, RUN_ID, 1, TOLD, tool_calls=1))
    (step,) = await begun.read(lambda tx: run_steps.of_run(tx, RUN_ID))
    assert (step.intent, step.outcome) == (CALL, TOLD)


async def test_an_outcome_and_its_cost_are_written_once(begun: Store) -> None:
    await begun.write(lambda tx: run_steps.begin(tx, RUN_ID, 1, CALL))
    for written in (True, False):
        first = await begun.write(lambda tx: run_steps.finish(tx, RUN_ID, 1, TOLD, turns=1, tool_calls=1))
        assert first is written
    run = await begun.read(lambda tx: runs.require(tx, RUN_ID))
    assert run.used == RunUsage(1, 1, 100, 7, Decimal("0.001234"), 1.5)
    assert run.tainted


async def test_what_is_due_runs_wakes_up_or_is_stopped(begun: Store, clock: FakeClock) -> None:
    async def due() -> tuple[RunId, ...]:
        return await begun.read(lambda tx: runs.due(tx, limit=10))

    async def put(state: RunState, seconds: float | None = None) -> None:
        wake_at = None if seconds is None else clock.now() + timedelta(seconds=seconds)
        await begun.write(lambda tx: runs.set_state(tx, RUN_ID, state, "because", wake_at=wake_at))

    assert await due() == (RUN_ID,)
    await put(RunState.WATCHING)
    assert await due() == ()
    await put(RunState.WATCHING, 30)
    assert await due() == ()
    clock.advance(30)
    assert await due() == (RUN_ID,)
    await put(RunState.AWAITING_APPROVAL)
    assert await due() == ()
    await begun.write(lambda tx: runs.request_stop(tx, RUN_ID, "enough"))
    assert await due() == (RUN_ID,)
    await put(RunState.STOPPED)
    assert await due() == ()
    assert await begun.read(runs.unended) == ()


async def test_a_run_that_has_ended_stays_as_it_is(begun: Store) -> None:
    await begun.write(lambda tx: runs.set_state(tx, RUN_ID, RunState.SUCCEEDED, "", result="done"))
    with pytest.raises(PreconditionFailed) as refused:
        await begun.write(lambda tx: runs.set_state(tx, RUN_ID, RunState.RUNNING, ""))
    assert refused.value.reason == "RUN_ENDED"
    stopped = await begun.write(lambda tx: runs.request_stop(tx, RUN_ID, "too late"))
    assert (stopped.state, stopped.result) == (RunState.SUCCEEDED, "done")


async def test_what_a_run_waits_for_its_notes_and_its_diagnosis_come_back(begun: Store) -> None:
    found = Diagnosis(
        "XID_79", "it fell off", "replace it", FaultDomain.HARDWARE, 0.9, (EvidenceItem("e", EvidenceKind.EVENT, "x"),)
    )
    action, node = derived_id(ACTION, "a"), derived_id(NODE, "n")

    def write(tx: Tx) -> None:
        runs.note(tx, RUN_ID, notes={"a": 1}, diagnosis=(JOB_ID, found))
        runs.note(tx, RUN_ID, notes={"b": [2]}, planned=[("stop_job", "j-1")])
        runs.set_state(tx, RUN_ID, RunState.WATCHING, "w", waits_for=(action,), watches=(node,))

    await begun.write(write)
    book = await begun.read(lambda tx: runs.book(tx, RUN_ID))
    assert book is not None
    assert (book.notes, book.waits_for, book.watches) == ({"a": 1, "b": [2]}, (action,), (node,))
    assert book.planned == {("repair_node", "n-1"), ("stop_job", "j-1")}
    assert (book.run.diagnosis, book.diagnoses) == (found, {JOB_ID: found})


async def test_events_are_numbered_without_gaps_audited_and_wake_who_waits(begun: Store) -> None:
    secret = "sk-" + "abcdefghij" * 4
    before = await begun.read(events.newest)
    for number in range(3):
        await begun.write(
            lambda tx, n=number: run_events.append(  # type: ignore[misc] # a default argument binds the loop's value
                tx, RUN_ID, EventType.TOOL_FINISHED, f"{n} {secret}", data={"key": [secret]}, evidence_ids=["e"]
            )
        )
    told = await begun.read(lambda tx: run_events.of_run(tx, RUN_ID))
    assert [one.sequence for one in told] == [1, 2, 3]
    assert secret not in str(told)
    assert (await begun.read(lambda tx: run_events.of_run(tx, RUN_ID, after=1)))[0].sequence == 2
    assert await begun.read(lambda tx: run_events.newest_of_run(tx, RUN_ID, limit=2)) == told[1:]
    placed = await begun.read(lambda tx: run_events.after(tx, 0, run_id=RUN_ID, goal_id=GOAL_ID))
    assert [one.event for one in placed] == list(told)
    assert placed[-1].position == await begun.read(run_events.newest_position)
    woken = await begun.read(lambda tx: events.after(tx, before, nouns=(Noun.RUN,)))
    assert [one.kind for one in woken] == ["tool.finished"] * 3
    recorded = await begun.read(lambda tx: audit.page(tx, AuditFilter(goal_id=GOAL_ID), PageRequest()))
    assert [one.action for one in recorded.items] == ["tool.finished"] * 3
    assert secret not in str(recorded.items)


async def test_details_that_are_too_many_are_left_out(begun: Store) -> None:
    told = await begun.write(
        lambda tx: run_events.append(tx, RUN_ID, EventType.TOOL_FINISHED, "m" * 9_000, data={"text": "y " * 9_000})
    )
    assert len(told.message) == run_events.MESSAGE_CHARS_MAX
    assert "left_out" in told.data_json


async def test_deltas_are_not_stored(begun: Store) -> None:
    with pytest.raises(ValueError, match="deltas"):
        await begun.write(lambda tx: run_events.append(tx, RUN_ID, EventType.MODEL_DELTA, "x"))


async def test_lists_are_filtered_and_old_runs_are_forgotten(begun: Store, clock: FakeClock) -> None:
    other = NewRun(derived_id(RUN, "two"), "healing_agent", None, None, "m")
    clock.advance(1)
    await begun.write(lambda tx: runs.insert(tx, other))
    await begun.write(lambda tx: run_steps.begin(tx, RUN_ID, 1, CALL))
    await begun.write(lambda tx: run_events.append(tx, RUN_ID, EventType.RUN_STARTED, "x"))

    async def listed(which: RunFilter) -> list[RunId]:
        page = await begun.read(lambda tx: runs.page(tx, which, PageRequest()))
        return [run.id for run in page.items]

    assert await listed(RunFilter()) == [other.id, RUN_ID]
    assert await listed(RunFilter(goal_id=GOAL_ID)) == [RUN_ID]
    assert await listed(RunFilter(agent_name="healing_agent")) == [other.id]
    assert await listed(RunFilter(states=(RunState.SUCCEEDED,))) == []
    await begun.write(lambda tx: runs.set_state(tx, RUN_ID, RunState.FAILED, "x"))
    assert await begun.write(lambda tx: runs.prune(tx, before=clock.now())) == 0
    clock.advance(1)
    assert await begun.write(lambda tx: runs.prune(tx, before=clock.now())) == 1
    assert await listed(RunFilter()) == [other.id]
    assert await begun.read(lambda tx: run_steps.of_run(tx, RUN_ID)) == ()
