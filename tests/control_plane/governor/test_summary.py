"""What an effect would do, in one line for a person."""

from decimal import Decimal

import pytest

from control_plane.governor.summary import summarize
from control_plane.model.action import DrainNode, LaunchJobs, NewJob
from control_plane.model.ids import JobId, NodeId
from control_plane.model.job import JobSpec, ResourceRequest


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(45, "45 s"), (300, "5 min"), (330, "5 min 30 s"), (10_800, "3 h"), (115_158, "31 h 59 min")],
    ids=lambda one: str(one).replace(" ", "-"),
)
def test_a_time_limit_is_told_in_units_that_people_use(seconds: int, told: str) -> None:
    spec = JobSpec(
        name="train", command="python train.py", resources=ResourceRequest(gpu_count=1), max_runtime_seconds=seconds
    )
    line = summarize(LaunchJobs(jobs=(NewJob(id=JobId("j-0123456789ab"), spec=spec),)), Decimal(3))
    assert line == f"run train [python train.py] on 1 GPU for at most {told}, for at most $3.00"


def test_a_node_is_called_by_its_name() -> None:
    effect = DrainNode(node_id=NodeId("n-0123456789ab"), reason="new fans")
    assert summarize(effect, Decimal(0), node_name="gpu-host-7") == "drain gpu-host-7: new fans"
    assert summarize(effect, Decimal(0)) == "drain n-0123456789ab: new fans"
