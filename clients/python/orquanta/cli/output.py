"""Where a command's results go: JSON for scripts, tables for people, notes to stderr."""

import select
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

import typer

from orquanta.cli.documents import dump
from orquanta.cli.formats import clean, one_line

_GAP = "  "
_NARROWEST = 40


class Output:
    """Prints results. With `as_json`, stdout carries JSON and nothing else."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def terminal(self) -> bool:
        """True if a person looks at stdout: then there may be colours and live views."""
        return not self.as_json and sys.stdout.isatty()

    def check_reader(self) -> None:
        """Raise BrokenPipeError if nobody reads what is written into a pipe any more."""
        try:
            descriptor = sys.stdout.fileno()
        except ValueError:  # what is written goes into memory
            return
        looked = select.poll()
        looked.register(descriptor, 0)
        if any(happened & select.POLLERR for _, happened in looked.poll(0)):
            raise BrokenPipeError

    @property
    def interactive(self) -> bool:
        """True if a person can also be asked."""
        return self.terminal and sys.stdin.isatty()

    def document(self, value: object) -> None:
        """One JSON document."""
        typer.echo(dump(value, indent=2 if sys.stdout.isatty() else None))

    def record(self, value: object) -> None:
        """One line of JSON lines."""
        typer.echo(dump(value))

    def say(self, text: str = "") -> None:
        """A line for a person, on stdout."""
        if not self.as_json:
            typer.echo(clean(text))

    def note(self, text: str) -> None:
        """A line beside the result, on stderr."""
        typer.echo(clean(text), err=True)

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names and values, one pair on a line; pairs without a value are left out."""
        shown = [(name, value) for name, value in pairs if value and value != "-"]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            lines = clean(value).splitlines() or [""]
            self.say(f"{name:<{width}}{_GAP}{lines[0]}")
            for line in lines[1:]:
                self.say(" " * (width + len(_GAP)) + line)

    def block(self, text: str, *, indent: int) -> None:
        """Text under a heading: broken at the terminal's width, whole elsewhere."""
        lead = " " * indent
        width = max(_NARROWEST, shutil.get_terminal_size().columns - indent)
        for line in clean(text).splitlines():
            parts = textwrap.wrap(line, width, break_on_hyphens=False) if self.terminal else [line]
            for part in parts:
                self.say(lead + part)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
        """A table: drawn on a terminal, aligned columns elsewhere. `empty` is said when there are no rows."""
        cells = [[one_line(cell) for cell in row] for row in rows]
        if not cells:
            self.say(empty)
        elif self.terminal:
            from orquanta.cli.drawing import print_table  # noqa: PLC0415 - rich is needed on a terminal only

            print_table(columns, cells)
        else:
            for line in plain_table(columns, cells):
                self.say(line)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns without colours; cells must be single lines."""
    grid = [[column.upper() for column in columns], *rows]
    widths = [max(len(row[index]) for row in grid) for index in range(len(columns))]
    return [_GAP.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in grid]
