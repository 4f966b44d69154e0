"""The fleet and the queue in memory."""

from dataclasses import replace

from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.queueing.model import QueueTerms
from control_plane.model.ids import JobId, UserId
from control_plane.model.job import ResourceRequest
from control_plane.model.team import Team
from control_plane.scheduling.reading import Changes, Everything, JobNow
from control_plane.scheduling.values import Rights, UserLimits
from control_plane.scheduling.world import World
from tests.control_plane.fleet.queueing.rooms import NOW, host, waiting

FLEET = (replace(host(0, 2), name="small", cpu_milli=32_000), replace(host(1, 4), name="wide", cpu_milli=16_000))


def world_of(*jobs: tuple[str, int, str]) -> World:
    """Jobs by name, GPUs and team."""
    read = Everything(
        sequence=1,
        hosts=FLEET,
        jobs=tuple(
            JobNow(job.job_id, job)
            for name, gpus, team in jobs
            for job in [
                waiting(name, team=team, resources=ResourceRequest(gpu_count=gpus, node_count=1, cpu_milli=1_000))
            ]
        ),
        rights=Rights((Team("later", max_gpus=0),), UserLimits(64, {UserId("ada"): 64})),
    )
    return World(read, terms=QueueTerms(), packing=PackingPolicy.NODE_VALUE)


def test_a_placement_leaves_whole_what_those_need_whom_only_a_limit_keeps_waiting() -> None:
    world = world_of(("one", 1, ""), *((f"four-{number}", 4, "later") for number in range(20)))
    [placed] = world.decide(NOW, {}).placements
    assert (placed.job_id, placed.placements[0].node_id) == ("one", FLEET[0].node_id)


def test_a_job_that_names_one_that_it_waits_for_twice_is_taken_like_any_other() -> None:
    after = JobId("after")
    twice = JobNow(after, waiting(after, waits_for=(after, after)), None, "", (JobId("a"), JobId("a")))
    world = World(
        Everything(1, (host(0),), (twice,), Rights((), UserLimits(64, {}))),
        terms=QueueTerms(),
        packing=PackingPolicy.NODE_VALUE,
    )
    assert world.dependents == {JobId("a"): {after}}
    world.apply(Changes(2, {}, (JobNow(after),), None))
    assert not world.dependents
