"""The steps of reasoning runs in the database: what was about to be done, and what came of it."""

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlmodel import col

from control_plane.model.ids import RunId
from control_plane.model.money import to_micros
from control_plane.model.run_step import Intent, Outcome, RunStep
from control_plane.store import runs
from control_plane.store.database import Tx
from control_plane.store.documents import Document
from control_plane.store.run_tables import RunStepRow

_INTENT = Document(TypeAdapter(Intent))
_OUTCOME = Document(TypeAdapter(Outcome))


def of_run(tx: Tx, run_id: RunId) -> tuple[RunStep, ...]:
    """Return the run's steps in their order."""
    query = select(RunStepRow).where(col(RunStepRow.run_id) == run_id).order_by(col(RunStepRow.number))
    return tuple(_step(row) for row in tx.session.execute(query).scalars())


def get(tx: Tx, run_id: RunId, number: int) -> RunStep | None:
    """Return one step, or None."""
    row = tx.session.get(RunStepRow, (run_id, number))
    return None if row is None else _step(row)


def _step(row: RunStepRow) -> RunStep:
    return RunStep(
        run_id=RunId(row.run_id),
        number=row.number,
        intent=_INTENT.load(row.intent),
        outcome=None if row.outcome is None else _OUTCOME.load(row.outcome),
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def begin(tx: Tx, run_id: RunId, number: int, intent: Intent) -> RunStep:
    """Write down what is about to be done. A step that is there already is returned as it is."""
    row = tx.session.get(RunStepRow, (run_id, number))
    if row is None:
        row = RunStepRow(run_id=run_id, number=number, intent=_INTENT.dump(intent), started_at=tx.now)
        tx.session.add(row)
        tx.session.flush()
    return _step(row)


def finish(tx: Tx, run_id: RunId, number: int, outcome: Outcome, *, turns: int = 0, tool_calls: int = 0) -> bool:
    """Write down what came of a step and add what it used to the run's account, once.

    Returns false, and changes nothing, if its outcome is known already.
    """
    row = tx.session.get(RunStepRow, (run_id, number))
    if row is None:
        raise LookupError(f"step {number} of {run_id} was never begun")
    if row.outcome is not None:
        return False
    row.outcome = _OUTCOME.dump(outcome)
    row.finished_at = tx.now
    tx.session.add(row)
    run = runs.row_of(tx, run_id)
    run.turns += turns
    run.tool_calls += tool_calls
    run.input_tokens += outcome.input_tokens
    run.output_tokens += outcome.output_tokens
    run.cost_usd_micros += to_micros(outcome.cost_usd)
    run.seconds += outcome.seconds
    run.tainted = run.tainted or outcome.untrusted
    runs.changed(tx, run)
    return True
