"""What a job finds in its environment."""

from pathlib import Path

from node_agent.jobs.environment import (
    container_environment,
    host_environment,
    is_marked,
    process_environment,
    rendezvous,
    state_mark,
)
from node_agent.jobs.gpu_share import mps_runs, share_environment
from tests.node_agent.jobs.host import spec

JOBS = Path("/state/jobs")
BASE = host_environment("/work", "/tmp/x", "nobody", {"PATH": "/opt/bin:/usr/bin"})


def test_a_gang_of_many_gpus_gets_what_torchrun_reads_and_no_worker_ranks() -> None:
    job = spec("gang", "x", rank=1, world=2, gpus_per_node=8, master_addr="10.0.0.1", master_port=29501)
    env = rendezvous(job)
    assert env == {
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29501",
        "NNODES": "2",
        "NODE_RANK": "1",
        "NPROC_PER_NODE": "8",
        "PET_MASTER_ADDR": "10.0.0.1",
        "PET_MASTER_PORT": "29501",
        "PET_NNODES": "2",
        "PET_NODE_RANK": "1",
        "PET_NPROC_PER_NODE": "8",
        "PET_RDZV_ID": job.allocation_id,
        "PET_RDZV_BACKEND": "static",
        "PET_RDZV_ENDPOINT": "10.0.0.1:29501",
    }


def test_a_gang_of_single_gpus_can_start_without_torchrun() -> None:
    env = rendezvous(spec("gang", "x", rank=3, world=4, gpus_per_node=1))
    assert (env["RANK"], env["WORLD_SIZE"], env["LOCAL_RANK"], env["LOCAL_WORLD_SIZE"]) == ("3", "4", "0", "1")


def test_a_job_alone_is_not_told_that_it_is_distributed() -> None:
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} & set(rendezvous(spec("one", "x", gpus_per_node=1)))


def test_a_job_sees_its_own_gpus_by_uuid_and_cannot_choose_others() -> None:
    job = spec("gpus", "x", gpu_uuids=("GPU-a", "GPU-b"), env={"CUDA_VISIBLE_DEVICES": "0", "HOME": "/h"})
    env = process_environment(job, BASE, JOBS, virtual_gpus=True, share={})
    assert env["CUDA_VISIBLE_DEVICES"] == env["NVIDIA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert (env["ORQUANTA_GPU_COUNT"], env["ORQUANTA_VIRTUAL_GPUS"]) == ("2", "1")
    assert (env["ORQUANTA_MEMBER"], env["ORQUANTA_EPOCH"]) == (str(job.key), "1")
    assert (env["HOME"], env["PATH"]) == ("/h", "/opt/bin:/usr/bin")


def test_a_process_is_told_from_one_of_another_daemon_that_names_its_member_alike() -> None:
    job = spec("twin", "x")
    env = process_environment(job, BASE, JOBS, virtual_gpus=False, share={})
    entries = [f"{name}={value}".encode() for name, value in env.items()]
    name, mine, theirs = str(job.key), state_mark(JOBS), state_mark(Path("/other/jobs"))
    assert is_marked(entries, name, mine)
    assert not is_marked(entries, name, theirs)
    assert not is_marked(entries, "another.0", mine)
    by_an_older_daemon = [entry for entry in entries if not entry.startswith(b"ORQUANTA_STATE=")]
    assert is_marked(by_an_older_daemon, name, mine)


def test_a_job_without_gpus_sees_none() -> None:
    env = process_environment(spec("cpu", "x"), BASE, JOBS, virtual_gpus=False, share={})
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert env["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_a_container_keeps_the_images_own_paths() -> None:
    env = container_environment(spec("image", "x", image="busybox"), JOBS, virtual_gpus=False, share={})
    assert not {"PATH", "HOME", "TMPDIR", "USER", "NVIDIA_VISIBLE_DEVICES"} & set(env)


def test_a_job_with_a_part_of_a_gpu_is_held_to_it_by_mps_where_it_runs(tmp_path: Path) -> None:
    job = spec("part", "x", gpu_uuids=("GPU-a",), gpu_milli=255, share_memory_bytes=20 * 2**30)
    assert share_environment(spec("whole", "x", gpu_uuids=("GPU-a",)), tmp_path) == {}
    told = share_environment(job, None)
    assert told == {"ORQUANTA_GPU_MILLI": "255", "ORQUANTA_GPU_MEMORY_BYTES": str(20 * 2**30)}
    assert share_environment(job, tmp_path) == {
        **told,
        "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path),
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25.5",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=20480M",
    }
    assert not mps_runs(tmp_path)
    (tmp_path / "control").touch()
    assert mps_runs(tmp_path)


def test_a_job_cannot_choose_the_limits_of_its_part() -> None:
    job = spec("part", "x", gpu_uuids=("GPU-a",), gpu_milli=100, env={"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "100"})
    share = share_environment(job, Path("/tmp/nvidia-mps"))
    assert (
        process_environment(job, BASE, JOBS, virtual_gpus=False, share=share)["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"]
        == "10"
    )
