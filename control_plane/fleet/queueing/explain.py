"""Says of a shape that does not fit what it waits for, with figures, and what would help; of limits likewise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.fleet.placement.room import Asked, Claim, Room
from control_plane.fleet.queueing import words
from control_plane.fleet.queueing.free import Free, admits
from control_plane.fleet.queueing.keep import Kept
from control_plane.fleet.queueing.model import WaitingJob, WaitReason
from control_plane.fleet.queueing.teams import Parties, Party, asked_gpu_milli
from control_plane.model.ids import UserId
from control_plane.model.job import ResourceRequest, TopologyDomain


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a job waits for, and what would help, likeliest first."""

    reason: WaitReason
    waits_for: str
    would_help: tuple[str, ...] = ()


def why_never(room: Room, asked: Asked, free: Free) -> Explanation:
    """Explain a job that would not fit if everything were free."""
    wanted = asked.resources
    count = free.count(wanted)
    each = wanted.gpu_count // max(1, wanted.node_count)
    if not free.hosts:
        return Explanation(
            WaitReason.UNSATISFIABLE, "no host is in service", ("put a host into service; see: orquanta node list",)
        )
    labels = [f"{key}={value}" for key, value in wanted.node_labels]
    hosts = [host for host in free.hosts if admits(host, wanted)]
    if not hosts:
        which = f"label {words.names(labels)}" if labels else "a name that the job does not leave out"
        text = f"no host in service has {which}"
    elif wanted.gpu_count and not count.there:
        text = (
            f"no host in service has {words.kind(wanted)}; there are {free.types(wanted, only_free=False) or 'no GPUs'}"
        )
    elif wanted.gpu_count and count.there < wanted.gpu_count and not wanted.gpu_milli:
        text = f"it asks for {words.asked(wanted)}, and {count.there} are in service"
    elif wanted.gpu_count and each > count.largest:
        text = f"it asks for {words.asked(wanted)}, and no host has more than {count.largest}"
    else:
        text = f"no host could hold it even if it were empty: it asks for {words.asked(wanted)}"
        text += f" with {words.of_host(wanted)} each" if wanted.gpu_count and _of_host(wanted) else ""
    return Explanation(WaitReason.UNSATISFIABLE, text, _relaxed(room, asked, free, ever=True))


def why_not_now(room: Room, asked: Asked, free: Free, kept: Kept | None, now: datetime) -> Explanation:
    """Explain a job that does not fit now. `kept` is the room that is kept for it, if any is."""
    wanted = asked.resources
    count = free.count(wanted)
    reason = WaitReason.CAPACITY
    if not wanted.gpu_count:
        text = f"no host has {words.asked(wanted)} free"
    elif wanted.gpu_milli:
        text = f"no GPU has {wanted.gpu_milli / 10:g} % of itself free"
    elif count.free < wanted.gpu_count:
        text = f"{count.free} of {wanted.gpu_count} {words.kind(wanted)} free"
    else:
        reason = WaitReason.FRAGMENTATION
        text = f"{count.free} {words.kind(wanted)} are free on {count.hosts} hosts, at most {count.most} on one"
        text += f" ({count.on}); it needs {words.asked(wanted)}"
        if _of_host(wanted) and _finds(room, asked, _without_host(wanted)):
            reason, text = (
                WaitReason.CAPACITY,
                f"no host with enough free GPUs has {words.of_host(wanted)} free beside them",
            )
    return Explanation(reason, text, (*_endings(kept, free, now), *_relaxed(room, asked, free, ever=False)))


def why_over_limit(
    job: WaitingJob,
    whose: Party | UserId,
    parties: Parties,
    limits: Mapping[UserId, int],
    held: Sequence[Claim],
    now: datetime,
) -> Explanation:
    """Explain a job that a limit keeps waiting. `held` is what is held within the limit, the first to end first."""
    wanted = asked_gpu_milli(job.resources)
    if isinstance(whose, Party):
        name, held_milli, most = f"team {whose.name}", whose.gpu_milli, whose.max_milli or 0
        least = -(-(held_milli + wanted) // 1000)
        command = f"orquanta quota set {whose.name} --max-gpus"
    else:
        name, held_milli, most = job.user_email, parties.held_by(whose), 1000 * limits[whose]
        least = -(-(held_milli + wanted) // 1000)
        command = f"orquanta user update {job.user_email} --max-gpus"
    if wanted > most:
        text = f"it asks for {words.gpus(wanted)} GPUs, and {name} may never hold more than {words.gpus(most)}"
        return Explanation(
            WaitReason.UNSATISFIABLE, text, (f"raise the limit of {name}: {command} {-(-wanted // 1000)}",)
        )
    text = f"{name} holds {words.gpus(held_milli)} of {words.gpus(most)} GPUs; this job asks for {words.gpus(wanted)}"
    raise_it = f"raise the limit of {name} ({words.gpus(held_milli)} of {words.gpus(most)} held): {command} {least}"
    ends = [f"{one.job_id} ends by {words.clock(one.ends_by, now)}" for one in held if one.ends_by is not None]
    return Explanation(WaitReason.QUOTA, text, ((words.names(ends),) if ends else ()) + (raise_it,))


def why_reserved(job: WaitingJob, kept: Sequence[Kept], now: datetime) -> Explanation:
    """Explain a job that would fit, were the room not kept for others."""
    first = kept[0]
    when = "" if first.at is None else f", which is to start by {words.clock(first.at, now)}"
    text = f"what it would fit in is kept for {words.names([str(one.job.job_id) for one in kept])}{when}"
    known = [one.at for one in kept if one.at is not None]
    if not known or len(known) < len(kept):
        return Explanation(WaitReason.RESERVATION, text)
    minutes = int((min(known) - now).total_seconds() // 60) - 1
    if minutes < 1:
        return Explanation(WaitReason.RESERVATION, text)
    limit = "has no time limit" if not job.max_runtime_seconds else "may run longer"
    help_ = f"limit its time to {minutes} minutes: now it {limit}, and could delay what room is kept for"
    return Explanation(WaitReason.RESERVATION, text, (help_,))


def why_making_way(kept: Kept) -> Explanation:
    """Explain a job that others make way for."""
    who = words.names([str(one.job_id) for one in kept.frees])
    return Explanation(WaitReason.PREEMPTING, f"waits for {who} to stop" if who else "waits for others to stop")


def _endings(kept: Kept | None, free: Free, now: datetime) -> tuple[str, ...]:
    """Return what has to end for the job to fit."""
    if kept is None or not kept.frees:
        return ()
    parts = []
    for claim in kept.frees:
        where = free.names.get(claim.placements[0].node_id, "") if claim.placements else ""
        when = f"ends by {words.clock(claim.ends_by, now)}" if claim.ends_by else "has no time limit"
        parts.append(f"{claim.job_id} on {where} {when}" if where else f"{claim.job_id} {when}")
    more = sum(round(1000 * claim.gpus) for claim in kept.frees)
    return (f"{words.gpus(more)} more free GPUs where it would go: {words.names(parts)}",)


def _relaxed(room: Room, asked: Asked, free: Free, *, ever: bool) -> tuple[str, ...]:
    """Return which single wish it would have to give up; each was tried."""
    wanted, found = asked.resources, []
    verb = "there are" if ever else "free:"
    for given_up, text in (
        (replace(wanted, gpu_types=(), exclude_gpu_types=()), "ask for another GPU model too"),
        (
            replace(wanted, node_labels=()),
            "leave out the label " + words.names([f"{k}={v}" for k, v in wanted.node_labels]),
        ),
        (replace(wanted, exclude_nodes=()), "leave out fewer hosts"),
        (replace(wanted, min_gpu_memory_bytes=0), "ask for less GPU memory"),
        (replace(wanted, node_count=0), "let it be spread over more or fewer hosts"),
        (replace(wanted, topology=TopologyDomain.ANY), f"let it be spread wider than one {_domain(wanted)}"),
        (replace(wanted, anti_affinity=""), "let it be beside others of its group"),
        (replace(wanted, exclusive_nodes=False), "let it share hosts with others"),
        (_without_host(wanted), "ask for less CPU or memory of the host"),
    ):
        if given_up == wanted:
            continue
        if _could(room, asked, given_up) if ever else _finds(room, asked, given_up):
            models = given_up.gpu_types != wanted.gpu_types
            found.append(f"{text}; {verb} {free.types(wanted, only_free=not ever)}" if models else text)
    return tuple(found)


def _domain(wanted: ResourceRequest) -> str:
    return {TopologyDomain.NVLINK: "group of GPUs joined by NVLink", TopologyDomain.NODE: "host"}.get(
        wanted.topology, wanted.topology.value
    )


def _of_host(wanted: ResourceRequest) -> bool:
    return bool(wanted.cpu_milli or wanted.memory_bytes)


def _without_host(wanted: ResourceRequest) -> ResourceRequest:
    return replace(wanted, cpu_milli=0, memory_bytes=0)


def _finds(room: Room, asked: Asked, wanted: ResourceRequest) -> bool:
    return room.find(replace(asked, resources=wanted)) is not None


def _could(room: Room, asked: Asked, wanted: ResourceRequest) -> bool:
    return room.could_ever(replace(asked, resources=wanted))
