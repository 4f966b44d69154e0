"""How SQLite finds what it is asked for."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from control_plane.store.database import Tx


def steps(tx: Tx, ask: Callable[[Tx], object]) -> list[str]:
    """Return each step of the plans of all statements that `ask` makes."""
    asked: list[tuple[str, Any]] = []  # Any: parameters of a statement
    connection = tx.session.connection()

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    ask(tx)
    event.remove(connection, "before_cursor_execute", note)
    return [
        str(row[-1])
        for statement, parameters in asked
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    ]
