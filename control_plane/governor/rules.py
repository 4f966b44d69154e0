"""The built-in rules: no file can remove or weaken them. Pure: the facts of one proposal in, verdicts out.

An error while judging is a denial.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from control_plane.governor import money_rules, safety_rules
from control_plane.governor.ruling import (
    BLAST_RADIUS,
    POLICY,
    PROTECTED_LABEL,
    Facts,
    Limits,
    Ruling,
    Verdict,
    ruling,
)

__all__ = [
    "BLAST_RADIUS",
    "BUILT_IN_RULES",
    "POLICY",
    "PROTECTED_LABEL",
    "BuiltInRule",
    "Facts",
    "Limits",
    "Ruling",
    "Verdict",
    "judge",
    "judge_rule",
    "ruling",
]


@dataclass(frozen=True, slots=True)
class BuiltInRule:
    """A rule of the program: when it speaks, in words, the strictest that it says, and the facts that it looks at."""

    id: str
    when: str
    then: Ruling
    check: Callable[[Facts], Verdict | None]
    looks_at: tuple[str, ...]


BUILT_IN_RULES: Final = (
    BuiltInRule(
        "kill-switch", "all effects are stopped", Ruling.DENY, safety_rules.kill_switch, ("kill_switch", "is_person")
    ),
    BuiltInRule("state", "it cannot be carried out as things are", Ruling.DENY, safety_rules.state, ("invalid",)),
    BuiltInRule("account", "it launches jobs for an account that may not", Ruling.DENY, money_rules.account, ("user",)),
    BuiltInRule(
        "gpu-limit",
        "the account would hold more GPUs than it may",
        Ruling.DENY,
        money_rules.gpu_limit,
        ("largest_gpus", "held_gpus", "wanted_gpus"),
    ),
    BuiltInRule(
        "team-quota",
        "the team, or a team that it is in, would hold more GPUs than it may",
        Ruling.DENY,
        money_rules.team_quota,
        ("largest_gpus", "wanted_gpus", "teams"),
    ),
    BuiltInRule(
        "user-budget",
        "it may cost more than is left of the account's budget",
        Ruling.DENY,
        money_rules.user_budget,
        ("estimate_usd", "user"),
    ),
    BuiltInRule(
        "goal-budget",
        "it may cost more than is left of the goal's budget",
        Ruling.DENY,
        money_rules.goal_budget,
        ("estimate_usd", "goal_committed_usd"),
    ),
    BuiltInRule(
        "spending",
        "a launch may cost more than the setting approval_above_usd",
        Ruling.REQUIRE_APPROVAL,
        money_rules.approval,
        ("estimate_usd",),
    ),
    BuiltInRule(
        "blast-radius",
        "too many hosts of the fleet, a pool, a rack, a job or an account would be out of service",
        Ruling.DENY,
        safety_rules.blast_radius,
        ("levels", "is_person"),
    ),
    BuiltInRule(
        "preemption",
        "an attempt would make way that has just begun, or more than the setting preemptions_max at once",
        Ruling.DENY,
        safety_rules.preemption,
        ("making_way", "safe_until"),
    ),
    BuiltInRule(
        "repair-approval",
        "an agent orders a repair of the setting repair_approval_rungs",
        Ruling.REQUIRE_APPROVAL,
        safety_rules.repair_approval,
        ("is_person",),
    ),
    BuiltInRule(
        "protected",
        "it touches a node with the protected label; a person's own act needs approval if it is destructive",
        Ruling.DENY,
        safety_rules.protected,
        ("protected", "is_person"),
    ),
    BuiltInRule(
        "change-freeze",
        "changes are frozen, and it does more than stop, cordon or quarantine; a person's act needs approval",
        Ruling.DENY,
        safety_rules.change_freeze,
        ("frozen", "let_in", "is_person"),
    ),
    BuiltInRule(
        "taint",
        "an agent proposes it after its run has read words that strangers wrote",
        Ruling.REQUIRE_APPROVAL,
        safety_rules.taint,
        ("tainted", "is_person"),
    ),
)
"""Every built-in rule, in the order in which they are asked."""


def judge(facts: Facts) -> tuple[Verdict, ...]:
    """Return what every rule that applies says, in a fixed order."""
    said = [judge_rule(rule, facts) for rule in BUILT_IN_RULES]
    return tuple([verdict for verdict in said if verdict is not None])


def judge_rule(rule: BuiltInRule, facts: Facts) -> Verdict | None:
    """Return what one rule says, None if it does not apply. An error is a denial."""
    try:
        return rule.check(facts)
    except Exception as error:  # noqa: BLE001 - any error while judging is a denial
        return Verdict(Ruling.DENY, "RULE_FAILED", f"the rule {rule.id} failed: {type(error).__name__}")
