"""The repair ladder: which rung fits, which comes next, what it needs out of its way, and how long it may take."""

from collections.abc import Collection, Iterable
from enum import Enum
from typing import Final

from control_plane.model.health import Condition, ConditionSeverity
from control_plane.model.repair import Rung

LADDER: Final = (
    Rung.VERIFY,
    Rung.STOP_PROCESS,
    Rung.MOVE_JOB,
    Rung.RESET_GPU,
    Rung.RESTART_SERVICE,
    Rung.RELOAD_DRIVER,
    Rung.REBOOT_HOST,
    Rung.QUARANTINE,
)
"""From the gentlest to the last."""

_NEEDS_EVERY_JOB_AWAY: Final = frozenset({Rung.RELOAD_DRIVER, Rung.REBOOT_HOST, Rung.QUARANTINE})
_NEEDS_GPUS_FREE: Final = frozenset({Rung.VERIFY, Rung.MOVE_JOB, Rung.RESET_GPU})
_FABRIC: Final = "fabricmanager"

DEADLINE_SECONDS: Final = {
    Rung.STOP_PROCESS: 300.0,
    Rung.MOVE_JOB: 300.0,
    Rung.RESET_GPU: 1200.0,
    Rung.RESTART_SERVICE: 1200.0,
    Rung.RELOAD_DRIVER: 1800.0,
    Rung.REBOOT_HOST: 3600.0,  # a large bare-metal host takes half an hour
    Rung.QUARANTINE: 900.0,
    Rung.VERIFY: 1800.0,
}
"""How long an order may take from when it was given to the host to its end, verification included."""

ANSWER_SECONDS: Final = 120.0
"""How long a host may take to begin with an order; one that it has not begun by then must not be begun any more."""

MARGIN_SECONDS: Final = 15.0
"""Between the host's clock and ours."""


GPUS_MAX: Final = 64
"""GPUs named in one repair; one that is about more is about all of the host."""


class InTheWay(Enum):
    """Which jobs of a node must be moved away first."""

    NONE = "none"
    ON_GPUS = "on_gpus"
    ALL = "all"


def in_the_way(rung: Rung, service: str) -> InTheWay:
    """Return which jobs a repair needs out of its way."""
    if rung in _NEEDS_EVERY_JOB_AWAY or (rung is Rung.RESTART_SERVICE and _FABRIC in service):
        return InTheWay.ALL
    return InTheWay.ON_GPUS if rung in _NEEDS_GPUS_FREE else InTheWay.NONE


def height(rung: Rung) -> int:
    """Return how far up the ladder a rung is."""
    return LADDER.index(rung)


def asks(condition: Condition) -> bool:
    """Tell whether a condition is a reason for an incident: it asks for a repair, or is fatal, and nobody has it."""
    wanted = condition.repair is not None or condition.severity is ConditionSeverity.FATAL
    return wanted and not condition.acknowledged_by


def asked(conditions: Iterable[Condition]) -> Rung | None:
    """Return the gentlest rung that fits all of the conditions which ask for one."""
    rungs = [one.repair for one in conditions if one.repair is not None and not one.acknowledged_by]
    return max(rungs, key=height, default=None)


def choose(
    conditions: Collection[Condition], tried: Collection[Rung], *, allowed: Collection[Rung], jobs_in_the_way: bool
) -> Rung | None:
    """Return the rung to climb now; None if no repair fits, QUARANTINE at the end of the ladder.

    Never one that is not above all that were tried: the ladder is climbed, not walked about on. `jobs_in_the_way`
    tells whether a job runs on what the conditions are about.
    """
    wanted = asked(conditions)
    if wanted is None and not tried:
        return None
    lowest = max((height(rung) + 1 for rung in tried), default=0)
    start = max(lowest, height(wanted) if wanted is not None else 0)
    # What is stopped or restarted is named by those that ask for a repair, as in the order that follows.
    asking = [one for one in conditions if one.repair is not None] or conditions
    if wanted is Rung.STOP_PROCESS and not tried and not any(one.process_ids for one in asking):
        # What was to be stopped is not known or gone; at most its job is moved.
        return Rung.MOVE_JOB if jobs_in_the_way and Rung.MOVE_JOB in allowed else None
    for rung in LADDER[start:]:
        if rung is Rung.QUARANTINE or (rung in allowed and _fits(rung, wanted, asking)):
            return rung
    return Rung.QUARANTINE


def _fits(rung: Rung, wanted: Rung | None, conditions: Collection[Condition]) -> bool:
    match rung:
        case Rung.VERIFY | Rung.MOVE_JOB:
            return rung is wanted
        case Rung.STOP_PROCESS:
            return rung is wanted and any(one.process_ids for one in conditions)
        case Rung.RESET_GPU:
            return any(one.gpu_uuid for one in conditions)
        case Rung.RESTART_SERVICE:
            return any(one.service for one in conditions)
        case _:
            return True


def gpus_of(conditions: Iterable[Condition], rung: Rung) -> tuple[str, ...]:
    """Return the GPUs that a repair is about; none means all of the host."""
    if in_the_way(rung, "") is InTheWay.ALL:
        return ()
    uuids = {one.gpu_uuid for one in conditions if asks(one)}
    return tuple(sorted(uuids)) if all(uuids) and len(uuids) <= GPUS_MAX else ()
