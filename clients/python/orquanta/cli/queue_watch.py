"""`orquanta queue --watch`: the queue as it changes, in place on a terminal, a line for each change elsewhere."""

from collections.abc import Callable, Generator
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import typer

from orquanta.cli.exits import ExitCode
from orquanta.cli.formats import elapsed, now, one_line, words
from orquanta.cli.output import Output
from orquanta.cli.queue_views import QUEUE_COLUMNS, queue_rows
from orquanta.errors import OrQuantaError
from orquanta.types.queues import QueueEntry, QueuePage

if TYPE_CHECKING:
    from orquanta import Client

_LINES_MAX: Final = 20
"""Lines that are printed for one look at the queue; what is beyond is counted in one more."""

_SILENCE: Final = timedelta(seconds=10)
"""So much later than expected an answer is missed: less comes of a server that is busy."""


class Answers:
    """When the server answered last, and whether that is longer ago than it should be.

    What is noted is noted on the thread of the client's loop. `tell` is told when answers stay away and when they are
    back, once each.
    """

    def __init__(self, every_seconds: float, tell: Callable[[str], object] | None = None) -> None:
        self._longest = timedelta(seconds=every_seconds) + _SILENCE
        self._last_at = now()
        self._tell = tell
        self._is_cut_off = False

    def note(self) -> None:
        """Note that there was an answer."""
        self._last_at = now()
        if self._is_cut_off and self._tell is not None:
            self._tell(f"{_clock(now())} The server answers again; what has changed meanwhile comes now.")
        self._is_cut_off = False

    def failed(self, failure: OrQuantaError) -> None:
        """Note that there was none, and that the server is asked again."""
        if not self._is_cut_off and self._tell is not None:
            since = f"{_clock(self._last_at)} ({one_line(failure.message)})"
            self._tell(f"{_clock(now())} No answer of the server since {since}. It is asked again.")
        self._is_cut_off = True

    def missed_since(self) -> datetime | None:
        """When the last answer was if the next is missed, else None."""
        last_at = self._last_at
        return last_at if now() - last_at > self._longest else None


def watch_queue(output: Output, client: "Client", *, limit: int, team: str, user_id: str, every_seconds: float) -> None:
    """Show the queue until Ctrl-C: with --json a line for each change, on a terminal a table that is redrawn."""
    # Over a table that is redrawn, its own head says so.
    answers = Answers(every_seconds, None if output.terminal else output.note)

    def on_answer() -> None:
        answers.note()
        output.check_reader()

    watched = client.queue.watch(
        limit,
        team=team,
        user_id=user_id,
        every_seconds=every_seconds,
        on_answer=on_answer,
        on_failure=answers.failed,
    )
    try:
        with closing(watched) as pages:
            if output.as_json:
                for page in pages:
                    output.record(page)
            elif output.terminal:
                _draw(pages, answers)
            else:
                _say(output, pages)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _draw(pages: Generator[QueuePage, None, None], answers: Answers) -> None:
    from orquanta.cli.drawing import LiveTable  # noqa: PLC0415 - rich is needed on a terminal only

    with LiveTable() as live:
        for page in pages:
            live.update(partial(head_lines, page, now(), answers), QUEUE_COLUMNS, partial(queue_rows, page.entries))


def head_lines(page: QueuePage, changed_at: datetime, answers: Answers) -> list[str]:
    """What stands above the table: how many jobs wait, since when that is so, and if it is not known to be so still."""
    shown = f", here are the first {len(page.entries)}" if page.total > len(page.entries) else ""
    lines = [f"{waiting(page.total).capitalize()}{shown}; changed {elapsed(changed_at, None)} ago. Ctrl-C ends this."]
    missed = answers.missed_since()
    if missed is not None:
        since = f"{_clock(missed)}, {elapsed(missed, None)} ago"
        lines.append(f"No answer of the server since {since}: this is how the queue was then. It is asked again.")
    return lines


def _say(output: Output, pages: Generator[QueuePage, None, None]) -> None:
    known: QueuePage | None = None
    for page in pages:
        lines = changes(known, page)
        for line in lines[:_LINES_MAX]:
            output.say(f"{_clock(now())} {line}")
        if len(lines) > _LINES_MAX:
            output.say(f"{_clock(now())} and {len(lines) - _LINES_MAX} changes more")
        known = page


def changes(known: QueuePage | None, page: QueuePage) -> list[str]:
    """What is to be said of a page after another one: how many jobs wait, which came, went, or wait for another reason.

    Of figures and places that moved nothing is said: one job that starts moves all behind it.
    """
    lines = [] if known is not None and known.total == page.total else [waiting(page.total)]
    before = {} if known is None else {one.job_id: one for one in known.entries}
    after = {one.job_id for one in page.entries}
    whole = page.total <= len(page.entries)
    gone = "waits no more" if whole else "is not among the first any more"
    lines += [f"{_name(one)} {gone}" for one in before.values() if one.job_id not in after]
    for one in page.entries:
        earlier = before.get(one.job_id)
        if earlier is None or earlier.wait_reason != one.wait_reason:
            lines.append(f"{_name(one)} place {one.position}, {words(one.wait_reason)}: {one_line(one.waits_for)}")
    return lines


def waiting(total: int) -> str:
    """How many jobs wait, as a sentence without its end."""
    return "no job waits" if total == 0 else f"{total} jobs wait" if total > 1 else "1 job waits"


def _clock(at: datetime) -> str:
    return f"{at.astimezone():%H:%M:%S}"


def _name(one: QueueEntry) -> str:
    return f"{one.job_id} {one_line(one.name)}".rstrip()
