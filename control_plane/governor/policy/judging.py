"""Asks every rule of a set about one input. Any error is a denial. Pure."""

import time
from collections.abc import Callable, Iterable
from typing import Final

from control_plane.governor.policy.expression import EvaluationFailed, Values
from control_plane.governor.policy.model import Outcome, PolicyRule, PolicySet
from control_plane.governor.ruling import STRICTEST_FIRST, Ruling

CPU_SECONDS_MAX: Final = 1.0
"""Time of this thread on the processor for all rules together; what is not asked by then has denied."""


def ask(
    policies: PolicySet, values: Values, *, cpu_seconds: Callable[[], float] = time.thread_time
) -> tuple[Outcome, ...]:
    """Return what each rule says, in the order of the files."""
    began = cpu_seconds()
    found = []
    for rule in policies.rules:
        if cpu_seconds() - began > CPU_SECONDS_MAX:
            found.append(_failed(rule, "the rules before it took too long", "{}"))
        else:
            found.append(_ask(rule, values))
    return tuple(found)


def strictest(outcomes: Iterable[Outcome]) -> Ruling:
    """Return the strictest ruling of the rules that spoke."""
    said = [one.ruling for one in outcomes if one.matched]
    return min(said, key=STRICTEST_FIRST.index, default=Ruling.ALLOW)


def _ask(rule: PolicyRule, values: Values) -> Outcome:
    try:
        holds = values.holds(rule.when)
    except EvaluationFailed as error:
        return _failed(rule, str(error), values.seen(rule.when))
    return Outcome(
        rule.id,
        rule.file,
        holds,
        rule.then if holds else Ruling.ALLOW,
        rule.message if holds else "does not apply",
        values.seen(rule.when),
        rule.need if holds else None,
    )


def _failed(rule: PolicyRule, why: str, seen: str) -> Outcome:
    return Outcome(
        rule.id,
        rule.file,
        matched=True,
        ruling=Ruling.DENY,
        text=f"its condition could not be evaluated, so it denies: {why}",
        values_json=seen,
        failed=True,
    )
