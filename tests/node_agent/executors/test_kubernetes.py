"""Jobs on Kubernetes: what is asked of its API, how pods are read, and whole lives against an emulator of it."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node_agent.errors import SettingsInvalid
from node_agent.executors.choice import choose
from node_agent.executors.kubernetes import JOB_LABEL, NODE_LABEL, Kubernetes, _unended_member, gpu_uuid
from node_agent.executors.kubernetes_api import ApiAccess
from node_agent.executors.pod import view
from node_agent.jobs.container import NoEngineError
from node_agent.jobs.environment import site_environment
from node_agent.jobs.executor import Executor
from node_agent.jobs.spec import MemberKey
from node_agent.jobs.status import MemberState, Outcome
from node_agent.settings import ExecutorKind, Settings, load
from tests.node_agent.executors.kubernetes_emulator import Emulator, emulated
from tests.node_agent.jobs.host import (
    Host,
    ended,
    eventually,
    kill_processes_of,
    output,
    running,
    spec,
    supervisor_pid,
    wipe,
)

NODE = "n-this"
PRODUCT = "NVIDIA-H100-80GB-HBM3"
H100 = tuple(gpu_uuid(PRODUCT, number) for number in range(8))
CLUSTER = Kubernetes(ApiAccess("https://api:6443"), "ml", "img:1", gpus_per_node=8)


def job_of(*arguments: Any, **fields: Any) -> Any:  # Any: a document, fields of a specification
    return json.loads(CLUSTER.order(spec(*arguments, **fields), {"A": "b"}))["job"]


def test_a_job_asks_for_its_gpus_limits_and_model_and_is_tried_once() -> None:
    job = job_of("x", "train", gpu_uuids=H100[:2], memory_limit_bytes=1 << 30, cpu_limit_milli=1500)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2", "cpu": "1500m", "memory": str(1 << 30)}
    assert (container["image"], container["command"]) == ("img:1", ["/bin/sh", "-c", "train"])
    assert {"name": "A", "value": "b"} in container["env"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": PRODUCT}
    assert (job["spec"]["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert pod["automountServiceAccountToken"] is False


def test_a_time_limit_is_the_pods_so_that_waiting_for_a_node_uses_none_of_it_up() -> None:
    job = job_of("x", "train", max_runtime_seconds=60, stop_grace_seconds=5.0)
    assert "activeDeadlineSeconds" not in job["spec"]
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 60 + 5 + 600


def test_a_job_chooses_for_itself_no_gpus_that_it_sees() -> None:
    chosen = {"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "0,1", "MINE": "1"}
    job = spec("x", "train", env=chosen)
    told = site_environment(job)
    assert told["MINE"] == "1"
    assert not told.keys() & (chosen.keys() - {"MINE"})
    (container,) = json.loads(CLUSTER.order(job, told))["job"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]


def test_an_image_keeps_its_own_command_where_none_is_given() -> None:
    (container,) = job_of("x", (), image="own:2")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "own:2"
    assert not {"command", "args"} & container.keys()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"gpu_uuids": H100[:1], "gpu_milli": 500}, "whole GPUs", id="part"),
        pytest.param({"gpu_uuids": tuple(gpu_uuid("", n) for n in range(9))}, "at most 8", id="gang"),
    ],
)
def test_what_cannot_run_there_is_refused_with_the_reason(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(NoEngineError, match=says):
        CLUSTER.order(spec("x", "true", **fields), {})


def pod_with(phase: str, *, reason: str = "", conditions: tuple[str, ...] = (), **state: Any) -> Any:
    status = {"phase": phase, "reason": reason, "conditions": [{"type": one, "status": "True"} for one in conditions]}
    return {"metadata": {"name": "p"}, "status": status | {"containerStatuses": [{"state": state}]}}


@pytest.mark.parametrize(
    ("pod", "state", "outcome"),
    [
        pytest.param(pod_with("Pending", waiting={"reason": "ContainerCreating"}), "waiting", "", id="creating"),
        pytest.param(pod_with("Running", running={}), "running", "", id="running"),
        pytest.param(pod_with("Succeeded", terminated={"exitCode": 0}), "ended", "exited", id="done"),
        pytest.param(pod_with("Failed", terminated={"exitCode": 137}), "ended", "signaled", id="killed"),
        pytest.param(pod_with("Failed", terminated={"exitCode": 255}), "ended", "exited", id="no signal"),
        pytest.param(
            pod_with("Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}), "ended", "oom_killed", id="memory"
        ),
        pytest.param(pod_with("Failed", reason="Evicted"), "ended", "supervisor_lost", id="evicted"),
        pytest.param(
            pod_with("Failed", conditions=("DisruptionTarget",), terminated={"exitCode": 143}),
            "ended",
            "supervisor_lost",
            id="preempted",
        ),
        pytest.param(pod_with("Failed", reason="DeadlineExceeded"), "ended", "timed_out", id="deadline"),
        pytest.param(pod_with("Pending", waiting={"reason": "InvalidImageName"}), "ended", "start_failed", id="image"),
        pytest.param({}, "waiting", "", id="nothing"),
    ],
)
def test_pods_are_read_as_what_they_are(pod: Any, state: str, outcome: str) -> None:
    seen = view(pod).state
    assert (seen.state, seen.outcome) == (state, outcome)


def test_a_daemon_in_a_pod_finds_the_api_of_its_own_cluster(tmp_path: Path) -> None:
    inside = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    found = load({"state_dir": str(tmp_path)}, inside)
    assert found.kubernetes_server == "https://[fd00::1]:6443"
    with pytest.raises(SettingsInvalid, match="kubernetes_server"):
        choose(Settings(state_dir=tmp_path, executor=ExecutorKind.KUBERNETES))


@pytest.fixture
def cluster() -> Iterator[Emulator]:
    with emulated() as emulator:
        yield emulator


@pytest.fixture
def executor(cluster: Emulator, tmp_path: Path) -> Executor:
    site = choose(
        Settings(
            state_dir=tmp_path,
            executor=ExecutorKind.KUBERNETES,
            kubernetes_server=cluster.url,
            kubernetes_image="img:1",
        ),
        NODE,
    )
    assert site is not None
    assert [(gpu.uuid, gpu.gpu_type) for gpu in site.gpus] == [(uuid, "H100") for uuid in H100]
    return site.executor


@pytest.fixture
def host(tmp_path: Path, executor: Executor) -> Iterator[Host]:
    made = Host(tmp_path / "state", executor=executor)
    yield made
    made.clean_up()


async def test_jobs_run_there_end_as_they_end_and_are_deleted(host: Host, cluster: Emulator) -> None:
    first = spec("first", 'echo "$ORQUANTA_GPU_COUNT gpus"; echo more; exit 3', gpu_uuids=H100[:2])
    killed = spec("killed", "kill -9 $$")
    async with host.daemon() as runner:
        found = await host.run(runner, first, killed)
        written = await output(runner, first.key)
    assert (found[first.key].outcome, found[first.key].exit_code) == (Outcome.EXITED, 3)
    assert written == b"2 gpus\nmore\n"
    assert (found[killed.key].outcome, found[killed.key].signal) == (Outcome.SIGNALED, signal.SIGKILL)
    await eventually(lambda: not cluster.jobs)


async def test_a_job_waits_with_the_clusters_reason_and_is_stopped_with_its_grace(
    host: Host, cluster: Emulator, tmp_path: Path
) -> None:
    mark, ready = tmp_path / "stopped", tmp_path / "ready"
    stopper = f"trap 'touch {mark}; exit 0' TERM; touch {ready}; while :; do sleep 0.02; done"
    job = spec("late", stopper, gpu_uuids=H100[:1])
    cluster.hold = True
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: "Insufficient nvidia.com/gpu" in runner.statuses()[job.key].message)
        assert runner.statuses()[job.key].state is MemberState.STARTING
        cluster.pods[f"orquanta-{job.allocation_id}-0"].start()
        await running(runner, job.key)
        await eventually(ready.exists)
        await runner.converge({})
        assert (await ended(runner, job.key)).outcome is Outcome.STOPPED
    assert mark.exists()
    assert not cluster.jobs


async def test_a_pod_that_is_taken_away_is_the_fleets_fault(host: Host, cluster: Emulator) -> None:
    job = spec("evicted", "sleep 600")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        cluster.pods[f"orquanta-{job.allocation_id}-0"].override = {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "disk",
        }
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.SUPERVISOR_LOST
    assert "disk" in status.message


async def test_no_job_is_left_there_when_its_supervisor_is_killed(host: Host, cluster: Emulator) -> None:
    job = spec("orphan", "sleep 600")
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        os.kill(supervisor_pid(host, job.key), signal.SIGKILL)
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
    assert not cluster.jobs
    assert not cluster.pods


async def test_what_nobody_here_follows_is_deleted_there_and_jobs_of_others_are_not(
    host: Host, cluster: Emulator, tmp_path: Path
) -> None:
    lost, wiped, kept = (spec(name, "exec sleep 600") for name in ("lost", "wiped", "kept"))
    foreign = spec("foreign", "exec sleep 600")
    names = {job.key: f"orquanta-{job.allocation_id}-0" for job in (lost, wiped, kept, foreign)}
    theirs = replace(host.settings.executor, node_id="n-other")  # type: ignore[type-var] # it is a Kubernetes
    neighbour = Host(tmp_path / "neighbour", executor=theirs)
    try:
        async with neighbour.daemon() as other:
            await other.converge({foreign.key: foreign})
            async with host.daemon() as runner:
                await runner.converge({job.key: job for job in (lost, wiped, kept)})
                await eventually(lambda: cluster.jobs.keys() == set(names.values()))
            os.kill(supervisor_pid(host, lost.key), signal.SIGKILL)
            kill_processes_of(lost.key)
            for job in (lost, wiped):
                wipe(host.settings.jobs_dir / str(job.key))
            async with host.daemon() as runner:
                await runner.converge({kept.key: kept})
                await eventually(lambda: cluster.jobs.keys() == {names[kept.key], names[foreign.key]})
                await eventually(lambda: cluster.pods.keys() == {names[kept.key], names[foreign.key]})
                await runner.converge({})
                assert (await ended(runner, kept.key)).outcome is Outcome.STOPPED
            await other.converge({})
            assert (await ended(other, foreign.key)).outcome is Outcome.STOPPED
    finally:
        neighbour.clean_up()


def job_like(name: str, label: str = "", **status: Any) -> Any:
    return {"metadata": {"name": name, "labels": {JOB_LABEL: label or name}}, "status": status}


@pytest.mark.parametrize(
    ("job", "found"),
    [
        pytest.param(job_like("orquanta-a-1-x-3"), MemberKey("a-1-x", 3), id="runs"),
        pytest.param(job_like("orquanta-a-1-0", conditions=[{"type": "Complete", "status": "True"}]), None, id="done"),
        pytest.param(
            {"metadata": {**job_like("orquanta-a-1-0")["metadata"], "deletionTimestamp": "now"}}, None, id="deleted"
        ),
        pytest.param(job_like("orquanta-../x-0"), None, id="no member"),
        pytest.param(job_like("theirs"), None, id="theirs"),
        pytest.param(job_like("orquanta-again-1", label="orquanta-a-1-0"), None, id="made by a person of ours"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_only_jobs_that_may_run_count_as_left(job: Any, found: MemberKey | None) -> None:
    assert _unended_member(job) == found


def test_of_more_jobs_than_the_api_tells_at_once_all_are_found(cluster: Emulator, executor: Executor) -> None:
    for number in range(1200):
        job = job_like(f"orquanta-a-1-{number}")
        job["metadata"]["labels"][NODE_LABEL] = NODE
        cluster.jobs[job["metadata"]["name"]] = job
    assert set(executor.unended()) == {MemberKey("a-1", number) for number in range(1200)}


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        pytest.param({"startedAt": "2026-11-23T05:59:58Z", "finishedAt": "2026-11-23T06:00:03Z"}, 5.0, id="told"),
        pytest.param({"startedAt": "2026-11-23T06:00:03Z", "finishedAt": "2026-11-23T06:00:00Z"}, 0.0, id="backwards"),
        pytest.param({"startedAt": None, "finishedAt": "2026-11-23T06:00:00Z"}, None, id="not started"),
        pytest.param({"startedAt": "yesterday", "finishedAt": "today"}, None, id="no times"),
        pytest.param({"startedAt": "2026-11-23T06:00:03", "finishedAt": "2026-11-23T06:00:00Z"}, None, id="no zone"),
    ],
)
def test_a_job_ran_for_as_long_as_its_node_says(times: Any, seconds: float | None) -> None:
    assert view(pod_with("Succeeded", terminated={"exitCode": 0, **times})).state.ran_seconds == seconds


async def test_a_job_whose_creation_went_unanswered_is_asked_for_again_and_runs_once(
    host: Host, cluster: Emulator
) -> None:
    job = spec("unheard", "echo once")
    cluster.lose_answers = 1
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
        written = await output(runner, job.key)
    assert (status.outcome, status.exit_code, written) == (Outcome.EXITED, 0, b"once\n")


async def test_a_job_that_others_delete_before_it_has_a_pod_ends(host: Host, cluster: Emulator) -> None:
    job = spec("deleted", "true")
    cluster.no_pods = True
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: "waits in Kubernetes as Job" in runner.statuses()[job.key].message)
        cluster.jobs.clear()
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.SUPERVISOR_LOST


async def test_a_token_that_is_away_for_a_moment_ends_no_job(cluster: Emulator, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    engine = Kubernetes(ApiAccess(cluster.url, token_file=str(token)), "ml", "img:1")
    host = Host(tmp_path / "state", executor=engine)
    try:
        mark = tmp_path / "go"
        job = spec("rotated", f"while ! test -e {mark}; do sleep 0.02; done")
        async with host.daemon() as runner:
            await runner.converge({job.key: job})
            await running(runner, job.key)
            token.rename(tmp_path / "aside")
            asked = len(cluster.requests)
            await asyncio.sleep(0.5)
            (tmp_path / "aside").rename(token)
            mark.touch()
            assert (await ended(runner, job.key)).succeeded
        assert len(cluster.requests) > asked
        assert "secret" not in (host.settings.jobs_dir / str(job.key) / "order.json").read_text()
    finally:
        host.clean_up()
