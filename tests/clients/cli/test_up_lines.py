"""What `orquanta up` says of what changes: single changes as long as a person could read them."""

import asyncio

from orquanta.cli.up_lines import LINES_MAX, ChangeLines


class Told(ChangeLines):
    """Lines without their times, and how to wait for them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()
        super().__init__(self._note, period_seconds=0.05)

    def _note(self, line: str) -> None:
        self.lines.append(line.split(" ", 1)[1])
        self._more.set()

    async def until(self, count: int) -> list[str]:
        async with asyncio.timeout(30):
            while len(self.lines) < count:
                self._more.clear()
                await self._more.wait()
        return self.lines


async def test_a_few_changes_are_a_line_each() -> None:
    told = Told()
    told.add("node", "a", "ready", "8 GPUs")
    told.add("job", "train", "failed", "exit code 1\nof a program")
    told.flush()
    assert told.lines == ["node a ready: 8 GPUs", "job train failed: exit code 1 of a program"]


async def test_thousands_of_changes_are_some_lines_and_then_figures() -> None:
    told = Told()
    for number in range(3_000):
        told.add("node", f"n{number}", "ready", "")
    told.add("job", "one", "running", "")
    lines = await told.until(LINES_MAX + 1)
    assert lines[:2] == ["node n0 ready", "node n1 ready"]
    assert lines[LINES_MAX:] == [f"and more: {3_000 - LINES_MAX} nodes ready, 1 job running"]
    told.add("node", "late", "lost", "")  # changes may go on coming that fast
    assert (await told.until(LINES_MAX + 2))[-1] in ("and more: 1 node lost", "node late lost")


async def test_what_was_counted_is_said_when_all_is_stopped() -> None:
    told = Told()
    for number in range(LINES_MAX + 1):
        told.add("node", f"n{number}", "ready", "")
    told.flush()
    assert told.lines[LINES_MAX:] == ["and more: 1 node ready"]
