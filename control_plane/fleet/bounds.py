"""The blast radius: how many nodes may be out of service at once. Pure arithmetic."""

from collections.abc import Iterable
from math import floor

from control_plane.model.bounds import Bound, Bounds, BoundScope, Level

_NOUNS = {
    BoundScope.FLEET: "the fleet",
    BoundScope.POOL: "pool",
    BoundScope.RACK: "rack",
    BoundScope.JOB: "job",
    BoundScope.TENANT: "tenant",
}


def allowed(bound: Bound, total: int) -> int:
    """Return how many of `total` nodes may be out of service at once."""
    if bound.most <= 0 or bound.percent <= 0:
        return 0
    return max(1, min(bound.most, floor(total * bound.percent / 100)))


def exceeded(levels: Iterable[Level], bounds: Bounds) -> str:
    """Return which bound keeps one more of these nodes from being taken out of service, for a person, or nothing.

    `levels` are those that the node belongs to, without it being out of service itself.
    """
    for level in levels:
        bound = bounds.get(level.scope)
        if bound is None:
            continue
        most = allowed(bound, level.total)
        if level.out + 1 > most:
            name = f"{_NOUNS[level.scope]} {level.name}".rstrip()
            return f"{level.out} of {most} hosts of {name} are out of service"
    return ""
