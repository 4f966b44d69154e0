"""The search for what has to be freed: what a room foresees changes no answer."""

import numpy as np
import pytest

from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.room import Asked, Claim
from control_plane.fleet.queueing.search import least_freed
from control_plane.model.ids import AllocationId, JobId, UserId
from control_plane.model.job import JobPriority, ResourceRequest
from tests.control_plane.fleet.queueing.rooms import NOW, hosts

_REQUESTS = (
    ResourceRequest(gpu_count=1),
    ResourceRequest(gpu_count=2, node_count=1),
    ResourceRequest(gpu_count=4, node_count=1),
    ResourceRequest(gpu_milli=300, gpu_count=0),
    ResourceRequest(gpu_count=8, node_count=2),
    ResourceRequest(gpu_count=4, exclusive_nodes=True, node_count=1),
)


def _filled(seed: int) -> tuple[Hosts, list[Claim]]:
    chance, room = np.random.default_rng(seed), Hosts(hosts(4, 4))
    for number in range(60):
        job = JobId(f"j{number}")
        resources = _REQUESTS[int(chance.integers(4))]
        found = room.find(Asked(job, "", resources))
        if found is not None:
            room.put(
                Claim(
                    AllocationId(f"a{number:02}"),
                    job,
                    UserId("u"),
                    "",
                    JobPriority.NORMAL,
                    resources,
                    found.placements,
                    NOW,
                )
            )
    order = list(room.claims().values())
    chance.shuffle(order)
    return room, order


@pytest.mark.parametrize("seed", range(8))
def test_what_must_end_is_the_shortest_beginning_with_which_a_job_fits(seed: int) -> None:
    room, order = _filled(seed)
    for resources in _REQUESTS:
        asked = Asked(JobId("asking"), "", resources)
        if room.find(asked) is not None:
            continue
        shortest = None
        for most in range(1, len(order) + 1):
            with room.without([one.allocation_id for one in order[:most]]):
                if room.find(asked) is not None:
                    shortest = most
                    break
        found = least_freed(room, asked, order, lambda _, asked=asked: room.find(asked))  # type: ignore[misc]  # bound now
        assert (found is None) == (shortest is None)
        if found is not None and shortest is not None:
            assert found.claims[-1] is order[shortest - 1]
            assert set(found.claims) <= set(order[:shortest])
