"""Runs packs: each case so many times, with errors of the surroundings apart from wrong answers."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from evals.case import Case, InfrastructureError, Pack, Verdict

ERROR_SHARE_MAX = 0.02
"""Above this share of attempts that could not be tried, a pack proves nothing and fails."""


@dataclass(slots=True)
class Outcome:
    """What came of a pack: the verdicts of each case in the order of its attempts, and the attempts that failed."""

    pack: Pack
    repeats: int
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    errors: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0
    seconds: float = 0.0

    @property
    def attempts(self) -> int:
        """How many attempts there were, those included that failed for other reasons."""
        return self.tried + len(self.errors)

    @property
    def tried(self) -> int:
        """How many attempts have a verdict."""
        return sum(map(len, self.verdicts.values()))

    @property
    def mean(self) -> float:
        """Return the mean score of all attempts that have a verdict; 0 without any."""
        scores = [one.score for found in self.verdicts.values() for one in found]
        return sum(scores) / len(scores) if scores else 0.0

    @property
    def right(self) -> int:
        """How many attempts were right in every part."""
        return sum(one.right for found in self.verdicts.values() for one in found)

    @property
    def complete(self) -> int:
        """How many cases were tried as often as they should be."""
        return sum(len(found) == self.repeats for found in self.verdicts.values())

    @property
    def always_right(self) -> int:
        """How many cases were right each time, of those that were tried as often as they should be."""
        return sum(len(found) == self.repeats and all(one.right for one in found) for found in self.verdicts.values())

    @property
    def broken(self) -> list[tuple[str, str]]:
        """Return what must never happen and did, with its case."""
        return [(name, what) for name, found in self.verdicts.items() for one in found for what in one.broken]

    @property
    def figures(self) -> dict[str, float]:
        """Return the figures of all verdicts, added up."""
        totals: Counter[str] = Counter()
        for found in self.verdicts.values():
            for one in found:
                for name, value in one.figures:
                    totals[name] += value  # type: ignore[assignment] # a Counter adds up fractions as well
        return dict(totals)

    @property
    def error_share(self) -> float:
        """Return the share of attempts that could not be tried."""
        return len(self.errors) / self.attempts if self.attempts else 0.0

    @property
    def passed(self) -> bool:
        """Whether the pack holds what it promises; one that was skipped promises nothing."""
        if self.pack.skipped:
            return True
        enough = bool(self.tried) and self.error_share <= ERROR_SHARE_MAX
        return enough and not self.broken and self.mean >= self.pack.floor


async def run_pack(pack: Pack, repeats: int, say: Callable[[str], None]) -> Outcome:
    """Try every case once before any is tried again."""
    outcome = Outcome(pack, 1 if pack.once else repeats)
    began = time.monotonic()
    turns = iter([(number, case) for number in range(outcome.repeats) for case in pack.cases])

    async def work() -> None:
        for number, case in turns:
            if time.monotonic() - began > pack.seconds:
                outcome.left_out += 1
            else:
                await _attempt(case, number, outcome, say)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(pack.at_once):
                group.create_task(work())
    finally:
        if pack.close is not None:
            await pack.close()
    outcome.seconds = time.monotonic() - began
    return outcome


async def _attempt(case: Case, number: int, outcome: Outcome, say: Callable[[str], None]) -> None:
    try:
        async with asyncio.timeout(case.seconds_max):
            verdict = await case.attempt()
    except InfrastructureError as error:
        outcome.errors.append((case.id, str(error)))
        say(f"  {case.id}: could not be tried: {error}")
        return
    except TimeoutError:
        outcome.errors.append((case.id, f"took longer than {case.seconds_max:g} s"))
        say(f"  {case.id}: took longer than {case.seconds_max:g} s")
        return
    outcome.verdicts.setdefault(case.id, []).append(verdict)
    if verdict.broken:
        say(f"  {case.id}: MUST NOT: {'; '.join(verdict.broken)}")
    elif not verdict.right and number == 0:
        say(f"  {case.id}: {verdict.score:.2f} {verdict.detail}")
