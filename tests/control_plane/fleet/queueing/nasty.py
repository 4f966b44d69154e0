"""Small worlds in which everything is scarce at once: drawn by hypothesis, and lived through."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.room import Asked, Claim, GpuSlot, Host, by_host
from control_plane.fleet.queueing.model import QueueDecision, QueueOrder, QueueTerms, WaitingJob
from control_plane.fleet.queueing.teams import within
from control_plane.model.ids import AllocationId, JobId, NodeId, UserId
from control_plane.model.job import JobPriority, ResourceRequest, TopologyDomain
from control_plane.model.team import Team
from tests.control_plane.fleet.queueing.rooms import GB, waiting
from tests.control_plane.fleet.queueing.world import World

R = ResourceRequest
SHAPES = (
    R(gpu_count=1),
    R(gpu_count=2),
    R(gpu_count=2, node_count=2),
    R(gpu_count=4, node_count=2, cpu_milli=3_000),
    R(gpu_count=3, topology=TopologyDomain.NODE),
    R(gpu_count=2, gpu_types=("A100",)),
    R(gpu_count=1, gpu_milli=400),
    R(gpu_count=1, gpu_milli=300, share_memory_bytes=50 * GB),
    R(gpu_count=1, gpu_milli=600, share_memory_bytes=10 * GB, cpu_milli=2_000),
    R(gpu_count=1, anti_affinity="w"),
    R(gpu_count=1, exclusive_nodes=True),
    R(cpu_milli=3_000, memory_bytes=40 * GB),
    R(gpu_count=8),
)
TEAMS = (Team("a", guaranteed_gpus=2, max_gpus=5), Team("a/x", guaranteed_gpus=1, weight=2.0), Team("b", max_gpus=3))
LIMITS = {UserId("ada"): 4}
RULES = (
    QueueTerms(min_runtime_seconds=50, aging_seconds=300),
    QueueTerms(min_runtime_seconds=0, aging_seconds=0),
    QueueTerms(min_runtime_seconds=50, aging_seconds=100, backfill=False),
    QueueTerms(min_runtime_seconds=50, order=QueueOrder.FIFO),
    QueueTerms(preemption=False, aging_seconds=300),
)

many = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True, slots=True)
class Nasty:
    """A fleet, rules, and what happens there: numbers that say which, so that drawing costs little."""

    gpus: tuple[int, ...]
    rule: int
    events: tuple[int, ...]


worlds = st.builds(
    Nasty,
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    st.integers(0, len(RULES) - 1),
    st.lists(st.integers(0, 2**24 - 1), min_size=8, max_size=40).map(tuple),
)


def fleet_of(nasty: Nasty) -> list[Host]:
    """Hosts of two models with few cores and little memory, some in one rack."""
    return [
        Host(
            NodeId(f"n{number}"),
            f"gpu-{number}",
            tuple(GpuSlot(f"g{number}-{one}", one, "A100" if number == 1 else "H100", 80 * GB) for one in range(gpus)),
            6_000,
            100 * GB,
            {"rack": f"r{number // 2}"},
        )
        for number, gpus in enumerate(nasty.gpus)
    ]


def begin(nasty: Nasty) -> World:
    """The world before anything has happened, with the room of the product."""
    world = World(fleet_of(nasty), TEAMS, RULES[nasty.rule])
    world.room = Hosts(fleet_of(nasty))
    world.user_limits = dict(LIMITS)
    return world


_KINDS = ("job",) * 6 + ("decide",) * 7 + ("end", "stop", "host")


def happen(world: World, event: int) -> QueueDecision | None:
    """Let one thing happen: a job comes, one ends, all stop that are to, a host closes or opens, or time has passed.

    In the last case, who is due ends, and the queue decides.
    """
    kind, event = _KINDS[event % len(_KINDS)], event // len(_KINDS)
    if kind == "job":
        world.submit(job_of(world, event))
    elif kind == "end" and world.running:
        world.end(sorted(world.running)[event % len(world.running)])
    elif kind == "stop":
        world.stop_all()
    elif kind == "host":
        turn(world, event)
    elif kind == "decide":
        world.wait((1, 1, 60, 60, 350)[event % 5])
        world.end_due()
        return world.step()
    return None


def turn(world: World, event: int) -> None:
    """Close an open host, or open a closed one."""
    assert isinstance(world.room, Hosts)
    rows = world.room.grid.hosts
    host = rows[event % len(rows)]
    assert host is not None
    world.room.put_host(replace(host, open=not host.open))
    world.queue.see([one for one in rows if one is not None])


def job_of(world: World, event: int) -> WaitingJob:
    """A job by a number."""
    shape, event = SHAPES[event % len(SHAPES)], event // len(SHAPES)
    team, event = ("", "a", "a/x", "b")[event % 4], event // 4
    priority, event = list(JobPriority)[event % len(JobPriority)], event // len(JobPriority)
    return waiting(
        f"j{len(world.jobs):02}",
        resources=shape,
        team=team,
        user=("ada", "bob")[event % 2],
        priority=priority,
        queued_at=world.now,
        runtime=(0, 45, 400, 900)[event // 2 % 4],
    )


def asked(job: WaitingJob) -> Asked:
    """What a job asks of the room."""
    return Asked(job.job_id, job.team, job.resources)


def check_nothing_is_over_committed(hosts: Sequence[Host], claims: Sequence[Claim]) -> None:
    """Counts by itself what is held of each GPU and each host."""
    milli, gpu_memory = Counter[str](), Counter[str]()
    cpu, memory, alone, words = Counter[str](), Counter[str](), Counter[str](), Counter[tuple[str, str, str]]()
    members = Counter[str]()
    for claim in claims:
        request = claim.resources
        for node_id, uuids in by_host(claim):
            members[node_id] += 1
            cpu[node_id] += request.cpu_milli
            memory[node_id] += request.memory_bytes
            alone[node_id] += request.exclusive_nodes
            words[node_id, claim.team, request.anti_affinity] += bool(request.anti_affinity)
            for uuid in uuids:
                part = request.gpu_milli or 1_000
                milli[uuid] += part
                gpu_memory[uuid] += request.share_memory_bytes or 80 * GB * part // 1_000
    assert max(milli.values(), default=0) <= 1_000
    assert max(gpu_memory.values(), default=0) <= 80 * GB
    assert max(words.values(), default=0) <= 1
    for host in hosts:
        assert cpu[host.node_id] <= host.cpu_milli
        assert memory[host.node_id] <= host.memory_bytes
        assert not alone[host.node_id] or members[host.node_id] == 1
    known = {slot.uuid for host in hosts for slot in host.slots}
    assert milli.keys() <= known


def check_limits(claims: Sequence[Claim]) -> None:
    """Nobody holds more than a team at any level, or the user, may."""
    teams, users = defaultdict[str, int](int), defaultdict[UserId, int](int)
    for claim in claims:
        users[claim.user_id] += round(1_000 * claim.gpus)
        for team in TEAMS:
            if within(claim.team, team.path):
                teams[team.path] += round(1_000 * claim.gpus)
    assert all(one.max_gpus is None or teams[one.path] <= 1_000 * one.max_gpus for one in TEAMS)
    assert all(users[user] <= 1_000 * limit for user, limit in LIMITS.items())


def winners_of(decision: QueueDecision) -> dict[JobId, set[AllocationId]]:
    """Who makes way, by whom it is for."""
    found: dict[JobId, set[AllocationId]] = {}
    for one in decision.preemptions:
        found.setdefault(one.for_job_id, set()).add(one.allocation_id)
    return found
