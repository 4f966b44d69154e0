"""What all rules together say about a proposal as things are now, and which approvals it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from control_plane.governor.rules import Ruling, Verdict, ruling
from control_plane.model.action import Proposal
from control_plane.model.approval import ApprovalNeed
from control_plane.store.database import Tx


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was said. `need` is what the rules that ask for approval ask for together, None if none does."""

    verdicts: tuple[Verdict, ...]
    estimate_usd: Decimal
    need: ApprovalNeed | None = None
    policy_version: str = ""

    @property
    def ruling(self) -> Ruling:
        """The strictest ruling of all."""
        return ruling(self.verdicts)


Judge = Callable[[Tx, Proposal], Judgement]
"""Judges a proposal as things are now, as if nobody had approved it."""
