"""Takes a person's answer to what a run asked about a failed job: the goal goes on, and its run acts on it."""

from collections.abc import Mapping
from dataclasses import replace

from control_plane.agents.orchestrator.runs import begin
from control_plane.agents.orchestrator.runs.replanning import ASKED
from control_plane.errors import InvalidArgument
from control_plane.fleet.remedies_answers import read_answer
from control_plane.model.goal import Goal, GoalState
from control_plane.model.run import EventType, RunState
from control_plane.store import goals, jobs, run_events, runs
from control_plane.store.database import Tx


def asks_about_a_job(tx: Tx, goal: Goal) -> bool:
    """Tell whether a goal that needs input was asked by its run, about a job that has failed."""
    return goal.state is GoalState.NEEDS_INPUT and bool(jobs.of_goal(tx, goal.id, with_allocations=False))


def take_answer(tx: Tx, goal: Goal, answers: Mapping[str, str]) -> Goal:
    """Let the goal and its run go on with an answer. Raises InvalidArgument for one that says nothing."""
    run_id = begin.run_id_of(goal.id)
    book = runs.book(tx, run_id)
    asked = {} if book is None else {note["field"]: note for note in book.notes.get(ASKED, {}).values()}
    for field, text in answers.items():
        note = asked.get(field)
        if note is not None and read_answer(text, tuple(note["gpu_types"])) is None:
            raise InvalidArgument(f"{text[:60]!r} does not say what to do. {note['text']}", reason="ANSWER_UNCLEAR")
    plan = None if goal.plan is None else replace(goal.plan, questions=())
    after = goals.update(
        tx, goal.id, state=GoalState.RUNNING, status_reason="", plan=plan, answers={**dict(goal.answers), **answers}
    )
    if book is not None and not book.run.state.ended:
        runs.set_state(tx, run_id, RunState.RUNNING, "")
        run_events.append(tx, run_id, EventType.RUN_RESUMED, f"its person answered {', '.join(answers.values())}"[:300])
    return after
