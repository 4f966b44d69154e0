"""Finds how little of what is held has to be freed for a job to fit."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from control_plane.fleet.placement.packing.state import OverCommitError
from control_plane.fleet.placement.room import Asked, Claim, Foresight, Found, Room
from control_plane.model.ids import AllocationId, NodeId

Fits = Callable[[Sequence[Claim]], Found | None]  # told what is freed, which is out of the room when it is asked

_FIRST_STEP: Final = 4


@dataclass(frozen=True, slots=True)
class Freed:
    """What has to be freed, none of it without need, and where the job then goes."""

    claims: tuple[Claim, ...]
    found: Found


@contextmanager
def freed(room: Room, claims: Sequence[Claim]) -> Iterator[None]:
    """Free these claims inside the block only."""
    with room.without([one.allocation_id for one in claims]):
        yield


def least_freed(room: Room, asked: Asked, claims: Sequence[Claim], fits: Fits) -> Freed | None:
    """Free claims in the order given until the job fits, and then take back what need not be freed.

    The last one of the shortest such prefix is always needed, so no other choice has an earlier last one. A room with
    foresight spares trying most prefixes; what it says is tried before it is believed.
    """
    if isinstance(room, Foresight):
        first = room.must_end(asked, claims)
        if first is None:
            return None
        with freed(room, first):
            found = fits(first)
        if found is not None:
            return _without_needless(room, Freed(first, found), fits)
    prefix = _shortest_prefix(room, claims, fits)
    if prefix is None:
        return None
    hosts = nodes_of(prefix.found)
    near = [one for one in prefix.claims if not hosts.isdisjoint(part.node_id for part in one.placements)]
    if len(near) < len(prefix.claims):
        with freed(room, near):
            fewer = fits(near) is not None
        prefix = Freed(tuple(near), prefix.found) if fewer else prefix
    return _without_needless(room, prefix, fits)


def nodes_of(found: Found) -> frozenset[NodeId]:
    """Return the hosts that a job would be on."""
    return frozenset(part.node_id for part in found.placements)


def _shortest_prefix(room: Room, claims: Sequence[Claim], fits: Fits) -> Freed | None:
    """Double the step until the job fits, then halve it: every claim is freed about twice."""
    with ExitStack() as stack:
        low, step = 0, _FIRST_STEP
        while True:
            if low == len(claims):
                return None
            high = min(low + step, len(claims))
            with freed(room, claims[low:high]):
                found = fits(claims[:high])
            if found is not None:
                break
            stack.enter_context(freed(room, claims[low:high]))
            low, step = high, step * 2
        while high - low > 1:
            middle = (low + high) // 2
            with freed(room, claims[low:middle]):
                nearer = fits(claims[:middle])
            if nearer is None:
                stack.enter_context(freed(room, claims[low:middle]))
                low = middle
            else:
                high, found = middle, nearer
        return Freed(tuple(claims[:high]), found)


def _without_needless(room: Room, prefix: Freed, fits: Fits) -> Freed:
    """Fill again what claims freed, one by one, the last ones first, as long as the job still fits."""
    left, found = list(prefix.claims), prefix.found
    with ExitStack() as stack:
        stack.enter_context(freed(room, left))
        for claim in reversed(prefix.claims):
            again = replace(claim, allocation_id=AllocationId(f"again-{claim.allocation_id}"))
            try:
                room.put(again)
            except OverCommitError:  # its host has less than it holds: no use in having it back
                continue
            fewer = [one for one in left if one is not claim]
            still = fits(fewer)
            if still is None:
                room.drop(again.allocation_id)
            else:
                left, found = fewer, still
                stack.callback(room.drop, again.allocation_id)
    return Freed(tuple(left), found)
