"""Writes down what a run finds out and does about its goal's failed jobs; `replanning.py` decides it."""

from dataclasses import replace

from control_plane.agents.orchestrator.runs import recording
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.moves import AskPerson
from control_plane.agents.orchestrator.runs.ports import GoalPursuit
from control_plane.agents.orchestrator.runs.replanning import ANSWERED_WITHIN, ASKED
from control_plane.agents.orchestrator.runs.view import RunView
from control_plane.model.agent import AgentStatus
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.goal import GoalState
from control_plane.model.job import Job
from control_plane.model.plan import Question, QuestionReason
from control_plane.model.run import EventType, RunState
from control_plane.model.run_step import RunStep
from control_plane.store import goals, run_events, run_steps, runs
from control_plane.store.database import Tx


def note_cause(tx: Tx, view: RunView, job: Job, diagnosis: Diagnosis) -> None:
    """Keep and tell why a job failed, once."""
    book = runs.book(tx, view.run.id)
    if book is None or book.run.state.ended or job.id in book.diagnoses:
        return
    # Until it waits again, whatever happens, it is found among those that have a step to take.
    runs.set_state(tx, view.run.id, RunState.RUNNING, f"looks at what can be done about {job.id}")
    runs.note(tx, view.run.id, diagnosis=(job.id, diagnosis))
    run_events.append(
        tx,
        view.run.id,
        EventType.DIAGNOSIS,
        f"{job.spec.name}: {diagnosis.cause}: {diagnosis.summary}",
        data={
            "job_id": job.id,
            "cause": diagnosis.cause,
            "advice": diagnosis.advice,
            "fault": diagnosis.fault.value,
            "confidence": diagnosis.confidence,
            "by": diagnosis.diagnosed_by,
        },
        evidence_ids=[one.id for one in diagnosis.evidence],
    )


def run_again(tx: Tx, view: RunView, step: RunStep, pursuit: GoalPursuit, policy: RunPolicy) -> None:
    """Propose what a step wants run again, and write down what came of it: both, or neither."""
    known = run_steps.get(tx, step.run_id, step.number)
    if view.goal is None or known is None or known.outcome is not None:
        return
    outcome = pursuit.relaunch(tx, goals.require(tx, view.goal.id), step)
    recording.finish(tx, step, outcome, policy)


def ask(tx: Tx, view: RunView, move: AskPerson) -> bool:
    """Let the goal and its run wait for a person's answer about a failed job, for as long as that may take."""
    if view.goal is None or runs.require(tx, view.run.id).state.ended:
        return False
    goal = goals.require(tx, view.goal.id)
    book = runs.book(tx, view.run.id)
    if goal.state is not GoalState.RUNNING or goal.plan is None or book is None:
        return False
    asked = book.notes.get(ASKED, {})
    note = {
        "field": move.field,
        "gpu_types": list(move.remedy.gpu_types),
        "text": move.remedy.words,
        "at": tx.now.isoformat(),
    }
    runs.note(tx, view.run.id, notes={ASKED: {**asked, move.job_id: note}})
    runs.set_state(tx, view.run.id, RunState.NEEDS_INPUT, move.remedy.words, wake_at=tx.now + ANSWERED_WITHIN)
    question = Question(move.field, move.remedy.words, QuestionReason.MISSING)
    plan = replace(goal.plan, questions=(question,))
    goals.update(tx, goal.id, state=GoalState.NEEDS_INPUT, status_reason=move.remedy.words, plan=plan)
    run_events.append(
        tx, view.run.id, EventType.RUN_WAITING, move.remedy.words, data={"questions": [move.field], "job": move.job_id}
    )
    recording.show_status(tx, AgentStatus.IDLE)
    return False
