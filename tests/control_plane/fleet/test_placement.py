from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.fleet.placement.decide import Decision, decide
from control_plane.fleet.placement.snapshot import HostView, Snapshot, host_view
from control_plane.model.identity import CertificateSerial
from control_plane.model.ids import NODE, JobId, UserId, derived_id
from control_plane.model.job import Job, JobSpec, JobState, ResourceRequest
from control_plane.model.node import Node, NodeState
from tests.control_plane.fleet.values import NOW, job
from tests.control_plane.world import GB, gpus, inventory, job_id, spec

TYPES = ("A100", "H100", "H200")
MEMORY_GB = {"A100": 40, "H100": 80, "H200": 141}


def host(name: str, number: int = 8, gpu_type: str = "H100", *, held: int = 0, broken: int = 0) -> HostView:
    devices = [
        replace(gpu, error="fell off the bus") if gpu.index >= number - broken else gpu
        for gpu in gpus(name, number, gpu_type, MEMORY_GB[gpu_type])
    ]
    node = Node(
        id=derived_id(NODE, name),
        name=name,
        state=NodeState.READY,
        status_reason="",
        cordoned=False,
        connected=True,
        inventory=inventory(name, devices),
        labels={},
        certificate_serial=CertificateSerial("1"),
        certificate_expires_at=NOW,
        last_seen_at=NOW,
        created_at=NOW,
        version=1,
    )
    taken = frozenset(gpu.uuid for gpu in devices[:held])
    return host_view(node, taken, promised_cpu_milli=0, promised_memory_bytes=0)


def snapshot(
    queue: list[Job],
    hosts: list[HostView],
    *,
    done: tuple[JobId, ...] = (),
    held: dict[UserId, int] | None = None,
    limit: int = 10_000,
) -> Snapshot:
    limits = {one.user_id: limit for one in queue}
    return Snapshot(tuple(queue), tuple(hosts), dict.fromkeys(done, JobState.SUCCEEDED), held or {}, limits)


def place(one: JobSpec, *hosts: HostView) -> Decision:
    return decide(snapshot([job("train", one)], list(hosts)))


def reason(one: JobSpec, *hosts: HostView) -> str:
    decision = place(one, *hosts)
    assert decision.placements == ()
    return decision.reasons[0][1]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    hosts = [
        host(f"host-{index}", size, draw(st.sampled_from(TYPES)), held=draw(st.integers(0, size)))
        for index, size in enumerate(draw(st.lists(st.sampled_from([1, 2, 4, 8]), max_size=6)))
    ]
    queue = []
    for index in range(draw(st.integers(0, 10))):
        nodes = draw(st.sampled_from([0, 0, 1, 2, 3]))
        each = draw(st.integers(0, 8))
        wanted = draw(st.lists(st.sampled_from(TYPES), max_size=2, unique=True))
        resources = ResourceRequest(
            gpu_types=tuple(wanted),
            gpu_count=each * max(nodes, 1),
            node_count=nodes,
            min_gpu_memory_bytes=draw(st.sampled_from([0, 0, 60 * GB])),
            exclude_gpu_types=tuple(set(draw(st.lists(st.sampled_from(TYPES), max_size=1))) - set(wanted)),
            cpu_milli=draw(st.sampled_from([0, 40_000])),
            memory_bytes=draw(st.sampled_from([0, 300 * GB])),
        )
        user = draw(st.sampled_from(["ada", "bob"]))
        needs = (job_id("done"),) if draw(st.booleans()) else ()
        queue.append(job(f"job-{index}", JobSpec("x", resources, command="true", depends_on=needs), user=user))
    limit = draw(st.integers(0, 24))
    done = (job_id("done"),) if draw(st.booleans()) else ()
    return snapshot(queue, hosts, done=done, held={UserId("ada"): draw(st.integers(0, 8))}, limit=limit)


@settings(max_examples=300)
@given(snapshots())
def test_every_decision_can_be_carried_out(given_snapshot: Snapshot) -> None:
    decision = decide(given_snapshot)
    hosts = {one.node_id: one for one in given_snapshot.hosts}
    queue = {one.id: one for one in given_snapshot.queue}
    taken: set[str] = set()
    cpu: dict[str, int] = {}
    memory: dict[str, int] = {}
    held = dict(given_snapshot.gpus_held)
    for placed in decision.placements:
        owner, request = queue[placed.job_id].user_id, queue[placed.job_id].spec.resources
        uuids = [uuid for member in placed.placements for uuid in member.gpu_uuids]
        assert len(uuids) == request.gpu_count
        assert not taken & set(uuids)
        taken |= set(uuids)
        assert [member.rank for member in placed.placements] == list(range(len(placed.placements)))
        assert len({member.node_id for member in placed.placements}) == len(placed.placements)
        assert len({len(member.gpu_uuids) for member in placed.placements}) == 1
        assert request.node_count in (0, len(placed.placements))
        assert set(queue[placed.job_id].spec.depends_on) <= set(given_snapshot.dependency_states)
        held[owner] = held.get(owner, 0) + len(uuids)
        for member in placed.placements:
            view = hosts[member.node_id]
            free = {gpu.uuid: gpu for gpu in view.free_gpus}
            for uuid in member.gpu_uuids:
                assert free[uuid].gpu_type == placed.gpu_type
                assert free[uuid].gpu_type in (request.gpu_types or TYPES)
                assert free[uuid].gpu_type not in request.exclude_gpu_types
                assert free[uuid].memory_bytes >= request.min_gpu_memory_bytes
            cpu[view.name] = cpu.get(view.name, 0) + request.cpu_milli
            memory[view.name] = memory.get(view.name, 0) + request.memory_bytes
            assert cpu[view.name] <= view.free_cpu_milli
            assert memory[view.name] <= view.free_memory_bytes
    for owner, number in held.items():
        gained = number - given_snapshot.gpus_held.get(owner, 0)
        assert gained == 0 or number <= given_snapshot.max_gpus[owner]


@settings(max_examples=200)
@given(snapshots())
def test_every_job_is_either_placed_or_told_why_not_and_the_same_snapshot_decides_the_same(
    given_snapshot: Snapshot,
) -> None:
    decision = decide(given_snapshot)
    placed = [one.job_id for one in decision.placements]
    waiting = [job_id for job_id, _ in decision.reasons]
    assert sorted(placed + waiting) == sorted(one.id for one in given_snapshot.queue)
    assert all(text.startswith("waits") for _, text in decision.reasons)
    assert decide(given_snapshot) == decision
    shuffled = replace(given_snapshot, hosts=tuple(reversed(given_snapshot.hosts)))
    assert {one.job_id for one in decide(shuffled).placements} == set(placed)


@settings(max_examples=200)
@given(snapshots())
def test_nothing_waits_that_would_fit_into_what_is_left(given_snapshot: Snapshot) -> None:
    decision = decide(given_snapshot)
    taken = {uuid for one in decision.placements for member in one.placements for uuid in member.gpu_uuids}
    requests = {one.id: one.spec.resources for one in given_snapshot.queue}
    views = []
    for view in given_snapshot.hosts:
        mine = [one for one in decision.placements if any(m.node_id == view.node_id for m in one.placements)]
        views.append(
            replace(
                view,
                free_gpus=tuple(gpu for gpu in view.free_gpus if gpu.uuid not in taken),
                free_cpu_milli=view.free_cpu_milli - sum(requests[one.job_id].cpu_milli for one in mine),
                free_memory_bytes=view.free_memory_bytes - sum(requests[one.job_id].memory_bytes for one in mine),
            )
        )
    held = dict(given_snapshot.gpus_held)
    for one in decision.placements:
        owner = next(queued.user_id for queued in given_snapshot.queue if queued.id == one.job_id)
        held[owner] = held.get(owner, 0) + requests[one.job_id].gpu_count
    waiting = {job_id for job_id, _ in decision.reasons}
    again = replace(
        given_snapshot,
        queue=tuple(one for one in given_snapshot.queue if one.id in waiting),
        hosts=tuple(views),
        gpus_held=held,
    )
    assert decide(again).placements == ()


def test_a_gang_goes_to_the_fewest_hosts_that_hold_it() -> None:
    assert len(place(spec(gpu=8), host("a", 4), host("b"), host("c", 4)).placements[0].placements) == 1
    assert len(place(spec(gpu=16), host("a"), host("b")).placements[0].placements) == 2


def test_a_small_job_fills_up_the_fullest_host_and_leaves_whole_ones_free() -> None:
    placed = place(spec(gpu=2), host("a"), host("b", held=6), host("c", held=3)).placements[0]
    assert placed.placements[0].node_id == derived_id(NODE, "b")


def test_gpus_that_the_driver_cannot_read_are_never_given() -> None:
    assert place(spec(gpu=8), host("a", broken=1)).placements == ()


def test_higher_priority_goes_first_because_the_queue_says_so() -> None:
    first, second = job("first", spec(gpu=8)), job("second", spec(gpu=8))
    decision = decide(snapshot([first, second], [host("a")]))
    assert [one.job_id for one in decision.placements] == [first.id]


def test_a_job_starts_only_after_those_it_needs() -> None:
    waiting = job("second", spec(needs=(job_id("first"),)))
    assert decide(snapshot([waiting], [host("a")])).reasons[0][1] == f"waits for {job_id('first')} to succeed"
    assert decide(snapshot([waiting], [host("a")], done=(job_id("first"),))).placements


@pytest.mark.parametrize(
    ("wanted", "hosts", "text"),
    [
        (spec(gpu=8), [host("a", held=2), host("b", held=5)], "waits: 6 of 8 H100 free on any one node"),
        (spec(gpu=16), [host("a"), host("b", held=1)], "waits: 15 of 16 H100 free in the fleet"),
        (spec(gpu=16, nodes=2), [host("a"), host("b", held=1)], "waits: 1 of 2 hosts have 8 H100 free"),
        (spec(gpu=1, types=("B200",)), [host("a")], "waits: no ready host has B200"),
        (spec(gpu=1), [], "waits: no host is ready; see: orquanta node list"),
        (
            spec(gpu=1, min_gpu_memory_bytes=100 * GB),
            [host("a")],
            "waits: 0 of 1 H100 with 100 GB free on any one node",
        ),
        (
            spec(gpu=1, cpu_milli=100_000),
            [host("a")],
            "waits: too few hosts have enough CPU or memory free beside free GPUs",
        ),
        (spec(gpu=0, memory_bytes=600 * GB), [host("a")], "waits: too few hosts have enough CPU or memory free"),
        (spec(gpu=0, nodes=3), [host("a")], "waits: 1 of 3 hosts are ready"),
    ],
)
def test_a_waiting_job_says_what_it_waits_for(wanted: JobSpec, hosts: list[HostView], text: str) -> None:
    assert reason(wanted, *hosts) == text


def test_a_waiting_job_says_what_is_left_after_this_round() -> None:
    decision = decide(snapshot([job("large", spec(gpu=8)), job("small", spec(gpu=2))], [host("a", held=2)]))
    assert dict(decision.reasons) == {job_id("large"): "waits: 4 of 8 H100 free on any one node"}


def test_who_holds_the_limit_is_told_so() -> None:
    one = job("train", spec(gpu=4))
    decision = decide(snapshot([one], [host("a")], held={one.user_id: 6}, limit=8))
    assert decision.reasons == ((one.id, "waits: ada@example.com holds 6 GPUs and may hold 8; this job needs 4"),)
