"""Tables on a terminal, with colours for states. The only module that imports rich."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orquanta.cli.formats import clean, one_line

_COLOURS = {
    "succeeded": "green",
    "ready": "green",
    "done": "green",
    "healthy": "green",
    "resolved": "green",
    "passed": "green",
    "ok": "green",
    "running": "cyan",
    "placed": "cyan",
    "approved": "cyan",
    "executing": "cyan",
    "planning": "cyan",
    "repairing": "cyan",
    "verifying": "cyan",
    "queued": "yellow",
    "submitted": "yellow",
    "joining": "yellow",
    "cordoned": "yellow",
    "degraded": "yellow",
    "draining": "yellow",
    "not checked": "yellow",
    "open": "bold yellow",
    "needs input": "bold yellow",
    "awaiting approval": "bold yellow",
    "failed": "bold red",
    "FAILED": "bold red",
    "escalated": "bold red",
    "lost": "bold red",
    "quarantined": "bold red",
    "refused": "red",
    "denied": "red",
    "rejected": "red",
    "cancelled": "magenta",
    "revoked": "magenta",
    "expired": "magenta",
}
_FRAMES_PER_SECOND = 4


def build_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without lines; words that name a state have their colour."""
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    return table


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table on stdout."""
    Console().print(build_table(columns, rows))


class LiveTable:
    """Lines above a table, redrawn in place until closed; elapsed times go on between updates."""

    def __init__(self) -> None:
        self._head: Callable[[], Sequence[str]] = list
        self._columns: Sequence[str] = ()
        self._rows: Callable[[], Sequence[Sequence[str]]] = list
        self._live = Live(console=Console(), refresh_per_second=_FRAMES_PER_SECOND, get_renderable=self._draw)

    def update(
        self,
        head: Callable[[], Sequence[str]],
        columns: Sequence[str],
        rows: Callable[[], Sequence[Sequence[str]]],
    ) -> None:
        """Show this from now on; both are asked anew for each frame."""
        self._head, self._columns, self._rows = head, columns, rows
        self._live.refresh()

    def _draw(self) -> RenderableType:
        rows = [[one_line(cell) for cell in row] for row in self._rows()]
        lines: list[RenderableType] = [Text(clean(line)) for line in self._head()]
        return Group(*lines, build_table(self._columns, rows)) if rows else Group(*lines)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
