"""More memory is looked for where the job can be placed, and a person's "again" gets it too."""

from dataclasses import replace

import pytest

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.fleet.remedies import Failure, Room, remedies
from control_plane.fleet.remedies_answers import Answer, as_answered
from control_plane.fleet.remedies_memory import HostGpus
from control_plane.model.diagnosis import Diagnosis, FaultDomain
from control_plane.model.job import JobSpec
from control_plane.model.run_replan import RemedyKind
from tests.control_plane.world import GB, spec


def failed(cause: str, one: JobSpec, *, used_seconds: float = 600) -> Failure:
    found = Diagnosis(cause, "it ran out of memory", "", FaultDomain.JOB, 0.9, ())
    return Failure(one, found, "H100", 80 * GB, used_seconds, used_seconds)


def host(gpu_type: str, gb: int, count: int, host_gb: int, name: str = "a", **labels: str) -> HostGpus:
    return HostGpus(gpu_type, gb * GB, count, host_gb * GB, (name,), tuple(labels.items()))


def test_host_memory_is_not_that_of_a_host_without_the_jobs_gpus() -> None:
    room = Room(2, hosts=(host("H100", 80, 8, 128), host("A10", 24, 8, 512)), host_memory_bytes=1024 * GB)
    job = spec(types=("H100",), memory_bytes=100 * GB)
    assert remedies(failed("HOST_OUT_OF_MEMORY", job), room)[0].resources.memory_bytes == 128 * GB
    full = spec(types=("H100",), memory_bytes=128 * GB)
    assert remedies(failed("HOST_OUT_OF_MEMORY", full), room)[0].kind is RemedyKind.GIVE_UP
    without = spec(gpu=0, memory_bytes=400 * GB)
    assert remedies(failed("HOST_OUT_OF_MEMORY", without), room)[0].resources.memory_bytes == 800 * GB


def test_a_gang_gets_the_host_memory_that_enough_hosts_have() -> None:
    hosts = (host("H100", 80, 8, 1024), host("H100", 80, 8, 160), host("H100", 80, 8, 128))
    gang = spec(gpu=16, nodes=2, types=("H100",), memory_bytes=100 * GB)
    found = remedies(failed("HOST_OUT_OF_MEMORY", gang), Room(2, hosts=hosts, host_memory_bytes=1024 * GB))
    assert found[0].resources.memory_bytes == 160 * GB


@pytest.mark.parametrize(
    "away",
    [
        host("H200", 141, 8, 512, pool="serving"),
        host("H200", 141, 8, 512, "left-out", pool="training"),
        host("H200", 141, 8, 512, pool="training", **{EXECUTOR: "kubernetes"}),
    ],
    ids=["labels", "excluded", "executor"],
)
def test_larger_gpus_in_hosts_that_the_job_may_not_use_are_none(away: HostGpus) -> None:
    job = spec(types=())
    wanted = replace(job.resources, node_labels=(("pool", "training"),), exclude_nodes=("left-out",))
    failure = failed("GPU_OUT_OF_MEMORY", replace(job, resources=wanted))
    assert remedies(failure, Room(2, hosts=(away,)))[0].kind is RemedyKind.GIVE_UP
    near = host("H200", 141, 8, 512, pool="training")
    assert remedies(failure, Room(2, hosts=(away, near)))[0].kind is RemedyKind.MORE_GPU_MEMORY


@pytest.mark.parametrize(
    ("cause", "memory_bytes", "gpu_memory_bytes", "told"),
    [
        ("HOST_OUT_OF_MEMORY", 128 * GB, 0, "with 128 GB of host memory"),
        ("GPU_OUT_OF_MEMORY", 64 * GB, 141 * GB, "on GPUs with at least 141 GB"),
        ("NCCL_TIMEOUT", 64 * GB, 0, "run again as it was"),
    ],
)
def test_a_person_who_answers_again_gets_what_the_question_told(
    cause: str, memory_bytes: int, gpu_memory_bytes: int, told: str
) -> None:
    room = Room(2, hosts=(host("H100", 80, 8, 512), host("H200", 141, 8, 512)), host_memory_bytes=512 * GB)
    failure = failed(cause, spec(types=(), memory_bytes=64 * GB), used_seconds=2400)  # too little is left
    asked = remedies(failure, room)[0]
    assert (asked.kind, told in asked.words) == (RemedyKind.ASK, True), asked.words
    after = as_answered(failure, room, Answer(again=True)).resources
    assert (after.memory_bytes, after.min_gpu_memory_bytes) == (memory_bytes, gpu_memory_bytes)
