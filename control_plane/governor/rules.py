"""The built-in rules. Pure: the facts of one proposal in, verdicts out. An error while judging is a denial."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Final

from control_plane.fleet.bounds import exceeded
from control_plane.model.account import User
from control_plane.model.action import (
    CordonNode,
    Effect,
    KillSwitch,
    LaunchJobs,
    PlaceJob,
    QuarantineNode,
    RepairNode,
    RevokeNode,
    StopJob,
)
from control_plane.model.bounds import Bounds, Level
from control_plane.model.money import format_usd
from control_plane.model.repair import Rung

BLAST_RADIUS: Final = "BLAST_RADIUS"
"""The reason when too many nodes are out of service."""


class Ruling(Enum):
    """What a rule says about a proposal."""

    ALLOW = "allowed"
    REQUIRE_APPROVAL = "needs approval"
    DENY = "denied"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A rule's ruling with its stable reason and the sentence a person reads."""

    ruling: Ruling
    reason: str
    text: str

    def line(self) -> str:
        """Return the verdict as one line of an action's decision."""
        return f"{self.ruling.value} ({self.reason}): {self.text}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The fleet's bounds. Money in US dollars. An agent's repair of `approval_rungs` waits for a person's approval."""

    approval_above_usd: Decimal
    max_gpus_per_user: int
    approval_rungs: frozenset[Rung] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the rules look at. Taken from the store inside the deciding transaction, never from text.

    `estimate_usd` is the most the effect can cost beyond what is reserved, `goal_committed_usd` what its goal has
    spent and reserved already, `invalid` the first reason why the effect cannot be carried out in the present state,
    `largest_gpus` the GPUs of its largest job, and `held_gpus` and `wanted_gpus` what the user holds and what the
    effect would add to that. `levels` is how things stand in all that a node belongs to which the effect would take out
    of service, empty if it takes none out that is not out already; `bounds` says how much may be.
    """

    effect: Effect
    is_person: bool
    approved: bool
    kill_switch: KillSwitch
    limits: Limits
    user: User | None = None
    invalid: tuple[str, str] | None = None
    estimate_usd: Decimal = Decimal(0)
    goal_committed_usd: Decimal = Decimal(0)
    largest_gpus: int = 0
    held_gpus: int = 0
    wanted_gpus: int = 0
    levels: tuple[Level, ...] = ()
    bounds: Bounds = field(default_factory=dict)


def judge(facts: Facts) -> tuple[Verdict, ...]:
    """Return what every rule that applies says, in a fixed order."""
    rules = (
        _kill_switch,
        _state,
        _account,
        _gpu_limit,
        _user_budget,
        _goal_budget,
        _approval,
        _blast_radius,
        _repair_approval,
    )
    verdicts = []
    for rule in rules:
        verdict = _safely(rule, facts)
        if verdict is not None:
            verdicts.append(verdict)
    return tuple(verdicts)


def ruling(verdicts: tuple[Verdict, ...]) -> Ruling:
    """Return the strictest ruling: denied over needs approval over allowed."""
    for strict in (Ruling.DENY, Ruling.REQUIRE_APPROVAL):
        if any(verdict.ruling is strict for verdict in verdicts):
            return strict
    return Ruling.ALLOW


def _safely(rule: Callable[[Facts], Verdict | None], facts: Facts) -> Verdict | None:
    try:
        return rule(facts)
    except Exception as error:  # noqa: BLE001 - any error while judging is a denial
        return Verdict(
            Ruling.DENY, "RULE_FAILED", f"the rule {getattr(rule, '__name__', rule)} failed: {type(error).__name__}"
        )


def _kill_switch(facts: Facts) -> Verdict | None:
    if not facts.kill_switch.engaged:
        return None
    # Taking work or hosts away is what a person in trouble needs; it can only make the fleet quieter.
    if facts.is_person and isinstance(facts.effect, StopJob | CordonNode | RevokeNode | QuarantineNode):
        return Verdict(
            Ruling.ALLOW,
            "KILL_SWITCH",
            "a person may stop jobs, cordon, quarantine and revoke nodes while everything is stopped",
        )
    switch = facts.kill_switch
    return Verdict(
        Ruling.DENY,
        "KILL_SWITCH",
        f"{switch.changed_by} has stopped all effects ({switch.reason or 'no reason given'}); "
        "an admin can release it with: orquanta action resume-all",
    )


def _state(facts: Facts) -> Verdict | None:
    if facts.invalid is None:
        return None
    reason, text = facts.invalid
    return Verdict(Ruling.DENY, reason, text)


def _account(facts: Facts) -> Verdict | None:
    if not isinstance(facts.effect, LaunchJobs):
        return None
    if facts.user is None:
        return Verdict(Ruling.DENY, "NO_USER", "jobs are launched on behalf of an account, and there is none")
    if facts.user.disabled:
        return Verdict(Ruling.DENY, "USER_DISABLED", f"the account of {facts.user.email} is disabled")
    return None


def _gpu_limit(facts: Facts) -> Verdict | None:
    if facts.user is None:
        return None
    limit = facts.limits.max_gpus_per_user if facts.user.max_gpus is None else facts.user.max_gpus
    if facts.largest_gpus > limit:
        return Verdict(
            Ruling.DENY,
            "GPU_LIMIT",
            f"a job asks for {facts.largest_gpus} GPUs, but {facts.user.email} may hold at most {limit} at once; "
            "ask for fewer, or an admin can raise it with: orquanta user update",
        )
    if facts.wanted_gpus and facts.held_gpus + facts.wanted_gpus > limit:
        return Verdict(
            Ruling.DENY,
            "GPU_LIMIT",
            f"{facts.user.email} holds {facts.held_gpus} of at most {limit} GPUs; {facts.wanted_gpus} more do not fit",
        )
    return None


def _user_budget(facts: Facts) -> Verdict | None:
    spends = isinstance(facts.effect, LaunchJobs) or (isinstance(facts.effect, PlaceJob) and facts.estimate_usd > 0)
    if not spends or facts.user is None:
        return None
    user = facts.user
    estimate = format_usd(facts.estimate_usd)
    if user.budget_usd is None:
        return Verdict(Ruling.ALLOW, "USER_BUDGET", f"at most {estimate}; {user.email} has no budget limit")
    left = user.budget_usd - user.spent_usd - user.reserved_usd
    if facts.estimate_usd > left:
        return Verdict(
            Ruling.DENY,
            "USER_BUDGET",
            f"may cost {estimate}, but {user.email} has {format_usd(max(left, Decimal(0)))} left of "
            f"{format_usd(user.budget_usd)}; shorten the time limit, use fewer GPUs, or ask an admin for more",
        )
    return Verdict(
        Ruling.ALLOW, "USER_BUDGET", f"at most {estimate} of the {format_usd(left)} that {user.email} has left"
    )


def _goal_budget(facts: Facts) -> Verdict | None:
    effect = facts.effect
    if not isinstance(effect, LaunchJobs) or effect.budget_usd is None:
        return None
    total = facts.goal_committed_usd + facts.estimate_usd
    if total > effect.budget_usd:
        return Verdict(
            Ruling.DENY,
            "GOAL_BUDGET",
            f"may cost {format_usd(total)}, more than the goal's budget of {format_usd(effect.budget_usd)}; "
            'shorten the time limit (for example "for 2 hours"), use fewer or cheaper GPUs, or raise the budget',
        )
    return Verdict(
        Ruling.ALLOW,
        "GOAL_BUDGET",
        f"at most {format_usd(total)} of the goal's budget of {format_usd(effect.budget_usd)}",
    )


def _approval(facts: Facts) -> Verdict | None:
    if not isinstance(facts.effect, LaunchJobs) or facts.estimate_usd <= facts.limits.approval_above_usd:
        return None
    if facts.approved:
        return Verdict(Ruling.ALLOW, "APPROVAL", "approved by a person")
    return Verdict(
        Ruling.REQUIRE_APPROVAL,
        "APPROVAL",
        f"may cost {format_usd(facts.estimate_usd)}, which is above {format_usd(facts.limits.approval_above_usd)}; "
        "an operator other than the requester must approve it",
    )


def _blast_radius(facts: Facts) -> Verdict | None:
    """The level out of service is bounded, whoever asks; only a person's quarantine is always possible."""
    if not facts.levels or (facts.is_person and isinstance(facts.effect, QuarantineNode)):
        return None
    text = exceeded(facts.levels, facts.bounds)
    if text:
        return Verdict(Ruling.DENY, BLAST_RADIUS, f"{text}; wait until one of them is back, or raise the bound")
    told = ", ".join(
        f"{level.out + 1} of {level.total} of {level.scope.value} {level.name}".rstrip() for level in facts.levels
    )
    return Verdict(Ruling.ALLOW, BLAST_RADIUS, f"out of service with this one: {told}")


def _repair_approval(facts: Facts) -> Verdict | None:
    effect = facts.effect
    if not isinstance(effect, RepairNode) or facts.is_person or effect.dry_run:
        return None
    if effect.rung not in facts.limits.approval_rungs:
        return None
    if facts.approved:
        return Verdict(Ruling.ALLOW, "REPAIR_APPROVAL", "approved by a person")
    return Verdict(
        Ruling.REQUIRE_APPROVAL, "REPAIR_APPROVAL", f"an operator must approve: {effect.rung.words} by an agent"
    )
