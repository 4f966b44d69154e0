"""Whatever is added, changed, deleted, read and undone in a transaction: the table holds what a plain model holds."""

import asyncio
from typing import Any, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from control_plane.store.database import Tx
from control_plane.store.health_tables import ConditionRow
from control_plane.store.rows import fresh
from control_plane.store.tables import TraceRow
from tests.control_plane.world import World

Held: TypeAlias = dict[str, tuple[int, object]]

_KEYS = st.sampled_from("abc")
_DOCUMENTS = st.sampled_from([{}, {"a": 1}, {"a": [2]}])
_STEP: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("put"), _KEYS, st.integers(0, 3), _DOCUMENTS),
    st.tuples(st.just("severity"), _KEYS, st.integers(0, 3), _DOCUMENTS),
    st.tuples(st.sampled_from(["delete", "read", "get", "settle", "flush", "new"]), _KEYS, st.just(0), st.just({})),
)
_STEPS = st.recursive(
    st.lists(_STEP, max_size=6),
    lambda inner: st.lists(_STEP | st.tuples(st.sampled_from(["keep", "undo"]), inner), max_size=6),
    max_leaves=4,
)


class _UndoneError(Exception):
    pass


class Player:
    """Does each step to the table and to the model; keeps the rows in hand across what is undone."""

    def __init__(self, tx: Tx, node_id: str) -> None:
        self.tx = tx
        self.node_id = node_id
        self.held: Held = {}
        self.rows: dict[str, ConditionRow] = {}
        self.traces = 0

    def play(self, steps: list[Any]) -> None:
        """Do these steps."""
        for step in steps:
            if len(step) == 2:
                self.within(*step)
            else:
                self.do(*step)

    def within(self, end: str, steps: list[Any]) -> None:
        """Do these steps behind a savepoint."""
        before, rows = dict(self.held), dict(self.rows)
        try:
            with self.tx.savepoint():
                self.play(steps)
                if end == "undo":
                    raise _UndoneError  # noqa: TRY301 - the savepoint is undone by it
        except _UndoneError:
            self.held, self.rows = before, rows

    def do(self, what: str, key: str, severity: int, document: dict[str, object]) -> None:
        """Do one step."""
        row = self.rows.get(key)
        if what == "put":
            if row is None:
                values = {"node_id": self.node_id, "condition_id": key, "changed_at": self.tx.now}
                row = self.rows[key] = fresh(ConditionRow, values | {"severity": severity, "document": document})
                self.tx.add(row)
            self.tx.change(row, {"severity": severity, "document": document})
            self.held[key] = severity, document
        elif what == "severity" and row is not None:
            self.tx.change(row, {"severity": severity})
            self.held[key] = severity, self.held[key][1]
        elif what == "delete" and row is not None:
            self.tx.delete(row)
            del self.rows[key], self.held[key]
        elif what == "read":
            assert shown(self.tx) == self.held
        elif what == "get" and row is not None:
            assert self.tx.session.get(ConditionRow, (self.node_id, key)) is row
            assert (row.severity, row.document) == self.held[key]
        elif what == "settle":
            self.tx.settle()
        elif what == "flush":
            self.tx.session.flush()
        elif what == "new":
            self.traces += 1
            self.tx.session.add(TraceRow(id=str(self.traces), traceparent="", created_at=self.tx.now))


def shown(tx: Tx) -> Held:
    """Return what the table holds."""
    rows = tx.session.execute(select(ConditionRow)).scalars()
    return {row.condition_id: (row.severity, row.document) for row in rows}


async def test_the_table_holds_what_a_plain_model_holds(any_world: World) -> None:
    node = await any_world.node("alpha")

    def write(first: list[Any], second: list[Any]) -> None:
        def play(tx: Tx) -> Held:
            tx.session.execute(delete(ConditionRow))
            tx.session.execute(delete(TraceRow))
            player = Player(tx, node.id)
            player.play(first)
            return player.held

        def play_on(tx: Tx) -> Held:
            player = Player(tx, node.id)
            player.rows = {row.condition_id: row for row in tx.session.execute(select(ConditionRow)).scalars()}
            player.held = dict(held)
            player.traces = 1_000
            player.play(second)
            return player.held

        for each in (play, play_on):
            held = asyncio.run_coroutine_threadsafe(any_world.store.write(each), loop).result(30)
            assert asyncio.run_coroutine_threadsafe(any_world.store.read(shown), loop).result(30) == held

    loop = asyncio.get_running_loop()
    checked = given(_STEPS, _STEPS)(write)
    settled = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    await asyncio.to_thread(settled(checked))
