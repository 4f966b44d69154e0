"""What a rule says: rulings, verdicts, and the bounds and facts that the built-in rules look at."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Final

from control_plane.model.account import User
from control_plane.model.action import Effect, KillSwitch
from control_plane.model.approval import ApprovalNeed
from control_plane.model.bounds import Bounds, Level
from control_plane.model.freeze import Freeze, Frozen
from control_plane.model.node import Node
from control_plane.model.repair import Rung

BLAST_RADIUS: Final = "BLAST_RADIUS"
"""The reason when too many nodes are out of service."""

POLICY: Final = "POLICY"
"""The reason when a rule of a file has spoken."""

PROTECTED_LABEL: Final = ("orquanta.io/protected", "true")
"""Name and value of the label that keeps agents away from a node."""


class Ruling(Enum):
    """What a rule says about a proposal."""

    ALLOW = "allowed"
    DRY_RUN_ONLY = "dry run only"
    REQUIRE_APPROVAL = "needs approval"
    DENY = "denied"


STRICTEST_FIRST: Final = (Ruling.DENY, Ruling.REQUIRE_APPROVAL, Ruling.DRY_RUN_ONLY, Ruling.ALLOW)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A rule's ruling with its stable reason and the sentence a person reads.

    `need` is what it asks for, if it asks for approval and for more than one operator. `rule_id` and `file` name the
    rule of a file that spoke.
    """

    ruling: Ruling
    reason: str
    text: str
    need: ApprovalNeed | None = None
    rule_id: str = ""
    file: str = ""

    def line(self) -> str:
        """Return the verdict as one line of an action's decision."""
        return f"{self.ruling.value} ({self.reason}): {self.text}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The fleet's bounds. Money in US dollars. An agent's repair of `approval_rungs` waits for a person's approval.

    `preemptions_max` is how many attempts may be making way at once for other jobs than the one that is asked about,
    and `preemption_min_runtime_seconds` how long an attempt is safe from it.
    `protected_label` is the name and value of the label of nodes that only people touch, None for none; `freezes` are
    the windows of the settings in which changes are frozen.
    """

    approval_above_usd: Decimal
    max_gpus_per_user: int
    approval_rungs: frozenset[Rung] = frozenset()
    protected_label: tuple[str, str] | None = PROTECTED_LABEL
    freezes: tuple[Freeze, ...] = ()
    preemptions_max: int = 64
    preemption_min_runtime_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class TeamUse:
    """A team with a limit: what it and the teams in it hold, and may hold."""

    path: str
    held_gpus: float
    max_gpus: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the built-in rules look at. Taken from the store inside the deciding transaction, never from text.

    `estimate_usd` is the most the effect can cost beyond what is reserved, `goal_committed_usd` what its goal has
    spent and reserved already, `invalid` the first reason why the effect cannot be carried out in the present state,
    `largest_gpus` the GPUs of its largest job, and `held_gpus` and `wanted_gpus` what the user holds and what the
    effect would add to that. `levels` is how things stand in all that a node belongs to which the effect would take out
    of service, empty if it takes none out that is not out already; `bounds` says how much may be.
    `teams` are those with a limit that the job counts for, `making_way` the attempts that stop for other jobs, and
    `safe_until` how long the attempt that is to make way may not.
    `nodes` are those that it touches, `protected` names the protected ones. `frozen` is the change freeze in force, and
    `let_in` says that its job was let in since that began. `tainted` as in Proposal.
    """

    effect: Effect
    is_person: bool
    kill_switch: KillSwitch
    limits: Limits
    user: User | None = None
    invalid: tuple[str, str] | None = None
    estimate_usd: Decimal = Decimal(0)
    goal_committed_usd: Decimal = Decimal(0)
    largest_gpus: float = 0
    held_gpus: float = 0
    wanted_gpus: float = 0
    teams: tuple[TeamUse, ...] = ()
    making_way: int = 0
    safe_until: datetime | None = None
    now: datetime | None = None
    levels: tuple[Level, ...] = ()
    bounds: Bounds = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    protected: tuple[str, ...] = ()
    frozen: Frozen | None = None
    let_in: bool = False
    tainted: bool = False


def ruling(verdicts: tuple[Verdict, ...]) -> Ruling:
    """Return the strictest ruling: denied, needs approval, dry run only, allowed."""
    said = [verdict.ruling for verdict in verdicts]
    return min(said, key=STRICTEST_FIRST.index, default=Ruling.ALLOW)
