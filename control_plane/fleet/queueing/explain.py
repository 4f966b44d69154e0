"""Says of a job what it waits for, with figures, and what would help; what it lacks, the room tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from control_plane.fleet.placement.phrases import names
from control_plane.fleet.placement.room import Lack, Missing
from control_plane.fleet.queueing.keep import Kept
from control_plane.fleet.queueing.model import WaitingJob, WaitReason
from control_plane.fleet.queueing.words import clock, gpus
from control_plane.model.ids import JobId, NodeId

_ONE_GPU: Final = 1_000  # thousandths
_REASONS: Final = {
    Lack.NOTHING: WaitReason.CAPACITY,
    Lack.NEVER: WaitReason.UNSATISFIABLE,
    Lack.IN_USE: WaitReason.CAPACITY,
    Lack.IN_PIECES: WaitReason.FRAGMENTATION,
    Lack.CPU_OR_MEMORY: WaitReason.CAPACITY,
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a job waits for, and what would help, likeliest first."""

    reason: WaitReason
    waits_for: str
    would_help: tuple[str, ...] = ()


def why_no_room(missing: Missing, kept: Kept | None, host_names: Mapping[NodeId, str], now: datetime) -> Explanation:
    """Explain a job that does not fit by what it lacks. `kept` is the room that is kept for it, if any is."""
    return Explanation(_REASONS[missing.lack], missing.text, (*_endings(kept, host_names, now), *missing.would_help))


def why_starts() -> Explanation:
    """Explain a job that waits for nothing but the next decision."""
    return Explanation(WaitReason.CAPACITY, "there is room for it: it starts when its turn comes, within seconds")


def why_in_line(first: JobId) -> Explanation:
    """Explain a job that would fit, where nobody starts before one that waits longer."""
    text = f"there is room for it, but it goes after {first}: without queue_backfill nobody overtakes"
    return Explanation(WaitReason.RESERVATION, text)


def why_reserved(job: WaitingJob, kept: Sequence[Kept], now: datetime) -> Explanation:
    """Explain a job that would fit, were the room not kept for others."""
    whom = [f"{one.job.job_id}{_starts_by(one, now)}" for one in kept]
    text = f"the room that it would take is kept for {names(whom)}"
    known = [one.at for one in kept if one.at is not None]
    if not known or len(known) < len(kept):
        return Explanation(WaitReason.RESERVATION, text)
    minutes = int((min(known) - now).total_seconds() // 60) - 1
    if minutes < 1:
        return Explanation(WaitReason.RESERVATION, text)
    limit = "it has no time limit" if not job.max_runtime_seconds else "it may run longer"
    help_ = f"limit its time to {minutes} minutes (--max-time {minutes}m): {limit}, and so could delay whom room is for"
    return Explanation(WaitReason.RESERVATION, text, (help_,))


def _starts_by(kept: Kept, now: datetime) -> str:
    return "" if kept.at is None else f" (starts by {clock(kept.at, now)})"


def why_making_way(kept: Kept) -> Explanation:
    """Explain a job that others make way for."""
    who = names([str(one.job_id) for one in kept.frees])
    text = f"waits for {who} to stop and make way for it" if who else "waits for others to stop and make way for it"
    return Explanation(WaitReason.PREEMPTING, text)


def why_after(jobs: Sequence[JobId]) -> Explanation:
    """Explain a job that waits for others to succeed."""
    return Explanation(WaitReason.DEPENDENCIES, f"waits for {names([str(one) for one in jobs])} to succeed")


def _endings(kept: Kept | None, host_names: Mapping[NodeId, str], now: datetime) -> tuple[str, ...]:
    """Return what has to end for the job to fit."""
    if kept is None or not kept.frees:
        return ()
    parts = []
    for claim in kept.frees:
        where = host_names.get(claim.placements[0].node_id, "") if claim.placements else ""
        when = f"ends by {clock(claim.ends_by, now)}" if claim.ends_by else "has no time limit"
        parts.append(f"{claim.job_id} on {where} {when}" if where else f"{claim.job_id} {when}")
    more = sum(round(1000 * claim.gpus) for claim in kept.frees)
    what = f"{gpus(more)} GPU{'' if more == _ONE_GPU else 's'} more" if more else "more room"
    return (f"{what} where it would go: {names(parts)}",)
