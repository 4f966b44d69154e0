"""Finds which attempts could go elsewhere so that a gang finds its GPUs in one piece. Changes nothing."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from control_plane.fleet.placement.consolidate import consolidate
from control_plane.fleet.placement.room import Asked, Claim
from control_plane.fleet.queueing.model import Preemption, Standing, WaitingJob, WaitReason
from control_plane.scheduling.world import World

LOOKED_AT_MAX: Final = 4
"""Jobs that wait because what is free is in pieces, and that room is looked for at once."""


def gathered(world: World, standings: Iterable[Standing], now: datetime) -> tuple[Preemption, ...]:
    """Return who should go elsewhere for the first job that can start then; nothing if that helps nobody.

    Only attempts move that lose nothing by it, because they save their work when they are asked to, that have run long
    enough, and that are of no higher priority. Each has a place to go to.
    """
    waiting = world.queue.jobs()
    in_pieces = [one for one in standings if one.reason is WaitReason.FRAGMENTATION and one.job_id in waiting]
    for one in in_pieces[:LOOKED_AT_MAX]:
        job = waiting[one.job_id]
        movable = {claim.allocation_id: 0.0 for claim in world.room.claims().values() if _may_move(claim, job, now)}
        found = consolidate(world.room, Asked(job.job_id, job.team, job.resources), movable) if movable else None
        if found is not None and found.moves:
            return tuple(
                Preemption(
                    move.allocation_id,
                    move.job_id,
                    job.job_id,
                    f"goes elsewhere ({move.to.reason}), so that {job.job_id} finds what it asks for in one piece",
                )
                for move in found.moves
            )
    return ()


def _may_move(claim: Claim, job: WaitingJob, now: datetime) -> bool:
    saves = claim.checkpointed_at is not None and claim.checkpointed_at > now
    safe = claim.protected_until is not None and claim.protected_until > now
    return saves and not safe and not claim.stopping and claim.priority <= job.priority
