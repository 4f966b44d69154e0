"""The order of the rungs, and which one comes next. Pure."""

from collections.abc import Collection
from typing import Final

from node_agent.health.model import Condition, Rung

LADDER: Final = (
    Rung.STOP_PROCESS,
    Rung.MOVE_JOB,
    Rung.RESET_GPU,
    Rung.RESTART_SERVICE,
    Rung.RELOAD_DRIVER,
    Rung.REBOOT_HOST,
    Rung.QUARANTINE,
)
"""Gentlest first. VERIFY is no rung: it repairs nothing."""


def fits(rung: Rung, condition: Condition) -> bool:
    """Say whether the host itself can climb a rung for a condition."""
    match rung:
        case Rung.STOP_PROCESS:
            return bool(condition.process_ids)
        case Rung.RESET_GPU:
            return bool(condition.gpu_uuid)
        case Rung.RESTART_SERVICE:
            return bool(condition.service)
        case Rung.RELOAD_DRIVER:
            return bool(condition.gpu_uuid) or condition.repair is Rung.RELOAD_DRIVER
        case Rung.REBOOT_HOST | Rung.QUARANTINE:
            return True
        case _:  # moving a job is the control plane's
            return False


def next_rung(condition: Condition, after: Rung, allowed: Collection[Rung]) -> Rung:
    """Return the gentlest allowed rung above `after` that fits the condition; QUARANTINE at the end of the ladder."""
    above = LADDER[LADDER.index(after) + 1 :] if after in LADDER else LADDER
    for rung in above:
        if rung in allowed and fits(rung, condition):
            return rung
    return Rung.QUARANTINE
