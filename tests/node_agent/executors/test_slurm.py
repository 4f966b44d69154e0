"""Jobs on a real Slurm: submitted, followed, told apart by how they end, cancelled, and never left behind."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.errors import SettingsInvalid
from node_agent.executors.choice import choose
from node_agent.executors.slurm import Slurm, SlurmNode, gpu_uuid, parse_nodes
from node_agent.jobs.executor import Executor
from node_agent.jobs.recovery import orphans
from node_agent.jobs.status import MemberState, Outcome
from node_agent.settings import ExecutorKind, Settings
from tests.node_agent.executors.slurm_cluster import GPUS_PER_NODE, ask, cluster, why_not
from tests.node_agent.jobs.host import (
    Host,
    ended,
    eventually,
    kill_processes_of,
    output,
    processes_of,
    running,
    spec,
    supervisor_pid,
    wipe,
)
from tests.standstill import stand_still

NODE = "n-this"
H100 = tuple(gpu_uuid("h100", number) for number in range(2 * GPUS_PER_NODE))


def test_nodes_out_of_service_and_without_gpus_are_not_offered() -> None:
    text = """
gpu1 idle gpu:h100:8(S:0-1)
gpu2 mixed gpu:a100:4,gpu:h100:2
gpu3 down* gpu:h100:8
gpu4 drained gpu:h100:8
cpu1 idle (null)
gpu5 allocated gpu:2
gpu5 allocated gpu:2
odd
gpu6 idle gpu:h100:99999
"""
    assert parse_nodes(text) == (SlurmNode("gpu1", "h100", 8), SlurmNode("gpu2", "a100", 4), SlurmNode("gpu5", "", 2))


def test_what_is_missing_in_the_settings_is_named(tmp_path: Path) -> None:
    assert choose(Settings(state_dir=tmp_path)) is None
    with pytest.raises(SettingsInvalid, match="slurm_output_dir"):
        choose(Settings(state_dir=tmp_path, executor=ExecutorKind.SLURM))
    with pytest.raises(SettingsInvalid, match="as whoever submits them"):
        choose(Settings(state_dir=tmp_path, executor=ExecutorKind.SLURM, slurm_output_dir="/x", run_as="jobs"))


@pytest.fixture(scope="module")
def slurm_conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if reason := why_not():
        pytest.skip(reason)
    with cluster(tmp_path_factory.mktemp("slurm")) as config:
        yield config


@pytest.fixture
def executor(slurm_conf: Path, tmp_path: Path) -> Executor:
    site = choose(
        Settings(
            state_dir=tmp_path,
            executor=ExecutorKind.SLURM,
            slurm_conf=str(slurm_conf),
            slurm_output_dir=str(tmp_path / "shared"),
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


async def test_jobs_run_there_with_their_gpus_and_end_as_they_end(host: Host) -> None:
    show = 'echo "gpus $CUDA_VISIBLE_DEVICES of $ORQUANTA_GPU_COUNT, $WORD"; echo trouble >&2; sleep 1.1; exit 3'
    first = spec("first", show, gpu_uuids=H100[:2], env={"WORD": "it's"})
    killed = spec("killed", "kill -9 $$")
    image = spec("image", "true", image="busybox")
    async with host.daemon() as runner:
        found = await host.run(runner, first, killed, image)
        written = await output(runner, first.key)
    status = found[first.key]
    assert (status.outcome, status.exit_code) == (Outcome.EXITED, 3)
    assert status.gpu_seconds > 0
    assert sorted(written.splitlines()) == [b"gpus 0,1 of 2, it's", b"trouble"]
    assert (found[killed.key].outcome, found[killed.key].signal) == (Outcome.SIGNALED, signal.SIGKILL)
    assert found[image.key].outcome is Outcome.START_FAILED
    assert "no container images" in found[image.key].message


async def test_a_gang_runs_on_as_many_nodes_as_hold_it_and_its_ranks_meet(host: Host) -> None:
    job = spec("gang", 'echo "$NODE_RANK of $NNODES"', gpu_uuids=H100, world=1)
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
        written = await output(runner, job.key)
    assert status.succeeded
    assert sorted(written.splitlines()) == [b"0 of 2", b"1 of 2"]


async def test_a_job_that_slurm_lets_wait_says_so_and_costs_nothing_until_it_runs(host: Host, slurm_conf: Path) -> None:
    stopper = "trap 'touch stopped; exit 0' TERM; touch ready; while :; do sleep 0.05; done"
    first = spec("first", stopper, gpu_uuids=H100[:GPUS_PER_NODE])
    second = spec("second", stopper, gpu_uuids=H100[GPUS_PER_NODE:])
    late = spec("late", "true", gpu_uuids=H100[:1])
    async with host.daemon() as runner:
        await runner.converge({job.key: job for job in (first, second)})
        for job in (first, second):
            await running(runner, job.key)
        # Somebody else's job, which this host knows nothing of.
        await runner.converge({second.key: second})
        assert (await ended(runner, first.key)).outcome is Outcome.STOPPED
        theirs = ["sbatch", "--parsable", f"--gres=gpu:{GPUS_PER_NODE}", "--output=/dev/null", "--wrap=sleep 600"]
        other = ask(slurm_conf, *theirs).strip()
        await eventually(lambda: "RUNNING" in ask(slurm_conf, "squeue", "-h", "-o", "%T", "-j", other))
        await runner.converge({job.key: job for job in (second, late)})
        await eventually(lambda: "waits in Slurm's queue" in runner.statuses()[late.key].message)
        assert runner.statuses()[late.key].state is MemberState.STARTING
        ask(slurm_conf, "scancel", other)
        status = await ended(runner, late.key)
        assert status.succeeded
        assert status.runtime_seconds < 30
        await runner.converge({})
        assert (await ended(runner, second.key)).outcome is Outcome.STOPPED


async def test_a_job_that_waits_in_slurm_is_stopped_at_once_and_asked_for_no_checkpoint(
    host: Host, slurm_conf: Path
) -> None:
    fields = {"checkpoint_signal": signal.SIGUSR1, "checkpoint_seconds": 3600, "stop_grace_seconds": 3600}
    late = spec("pending", "true", gpu_uuids=H100[:1], **fields)
    theirs = ["sbatch", "--parsable", "--nodes=2", f"--gres=gpu:{GPUS_PER_NODE}", "--output=/dev/null"]
    other = ask(slurm_conf, *theirs, "--wrap=sleep 600").strip()
    try:
        await eventually(lambda: "RUNNING" in ask(slurm_conf, "squeue", "-h", "-o", "%T", "-j", other))
        async with host.daemon() as runner:
            await runner.converge({late.key: late})
            await eventually(lambda: "waits in Slurm's queue" in runner.statuses()[late.key].message)
            await runner.converge({})
            status = await ended(runner, late.key)
        assert (status.outcome, status.gpu_seconds) == (Outcome.STOPPED, 0.0)
        assert not ask(slurm_conf, "squeue", "-h", f"--name=orquanta-{late.key}").strip()
    finally:
        ask(slurm_conf, "scancel", other)


async def test_no_job_is_left_in_slurm_when_its_supervisor_is_killed(host: Host, slurm_conf: Path) -> None:
    rename = "until scontrol update jobid=$SLURM_JOB_ID jobname=other; do sleep 0.1; done; exec sleep 600"
    job = spec("orphan", rename, gpu_uuids=H100[:1], env={"SLURM_CONF": str(slurm_conf)})
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        name = "other"
        await eventually(lambda: bool(ask(slurm_conf, "squeue", "-h", f"--name={name}").strip()))
        os.kill(supervisor_pid(host, job.key), signal.SIGKILL)
        assert (await ended(runner, job.key)).outcome is Outcome.SUPERVISOR_LOST
        await eventually(lambda: not ask(slurm_conf, "squeue", "-h", "-t", "R,PD", f"--name={name}").strip())


async def test_what_nobody_here_follows_is_ended_in_slurm_and_jobs_of_others_are_not(
    host: Host, slurm_conf: Path, tmp_path: Path
) -> None:
    rename = "until scontrol update jobid=$SLURM_JOB_ID jobname=other; do sleep 0.1; done; exec sleep 600"
    lost = spec("lost", rename, gpu_uuids=H100[:1], env={"SLURM_CONF": str(slurm_conf)})
    wiped, kept = spec("wiped", "exec sleep 600", gpu_uuids=H100[1:2]), spec("kept", "exec sleep 600")
    theirs = replace(host.settings.executor, node_id="n-other")  # type: ignore[type-var] # it is a Slurm
    neighbour = Host(tmp_path / "neighbour", executor=theirs)
    foreign = spec("foreign", "exec sleep 600")

    def there() -> set[str]:
        return set(ask(slurm_conf, "squeue", "-h", "-t", "R", "-o", "%k").split())

    marks = {job.key: f"orquanta/{NODE}/{job.key}" for job in (lost, wiped, kept)}
    marks[foreign.key] = f"orquanta/n-other/{foreign.key}"
    try:
        async with neighbour.daemon() as other:
            await other.converge({foreign.key: foreign})
            async with host.daemon() as runner:
                await runner.converge({job.key: job for job in (lost, wiped, kept)})
                await eventually(lambda: there() >= set(marks.values()))
                await eventually(lambda: bool(ask(slurm_conf, "squeue", "-h", "--name=other").strip()))
            # One of which nothing is left here, one whose supervisor still stands over a directory that is gone.
            os.kill(supervisor_pid(host, lost.key), signal.SIGKILL)
            kill_processes_of(lost.key)
            for job in (lost, wiped):
                wipe(host.settings.jobs_dir / str(job.key))
            async with host.daemon() as runner:
                await runner.converge({kept.key: kept})
                await eventually(lambda: not there() & {marks[lost.key], marks[wiped.key]})
                assert there() >= {marks[kept.key], marks[foreign.key]}
                await runner.converge({})
                assert (await ended(runner, kept.key)).outcome is Outcome.STOPPED
            await other.converge({})
            assert (await ended(other, foreign.key)).outcome is Outcome.STOPPED
    finally:
        neighbour.clean_up()


def with_program(host: Host, directory: Path, name: str, script: str) -> Host:
    """Return the host with a script in place of a program of Slurm, which it may call by its path."""
    directory.mkdir()
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    engine = host.settings.executor
    assert isinstance(engine, Slurm)
    path = {"PATH": f"{directory}:/usr/sbin:/usr/bin:/sbin:/bin"}
    return Host(host.settings.state_dir, executor=replace(engine, environment={**engine.environment, **path}))


AWAY = "Unable to contact slurm controller (connect failure)"


async def test_a_job_of_which_its_host_has_lost_all_is_followed_and_not_submitted_again_once_slurm_answers(
    host: Host, slurm_conf: Path, tmp_path: Path
) -> None:
    rename = "until scontrol update jobid=$SLURM_JOB_ID jobname=another; do sleep 0.1; done; exec sleep 600"
    job = spec("again", rename, env={"SLURM_CONF": str(slurm_conf)})
    up = tmp_path / "up"
    script = f"""test -e {up} || {{ echo "{AWAY}" >&2; exit 1; }}\nexec /usr/bin/squeue "$@"\n"""
    later = with_program(host, tmp_path / "bin", "squeue", script)

    def there() -> list[str]:
        marked = ask(slurm_conf, "squeue", "-h", "-o", "%i %k %j").splitlines()
        return [line for line in marked if str(job.key) in line]

    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        await eventually(lambda: [line.split()[-1] for line in there()] == ["another"])
        (before,) = there()
    os.kill(supervisor_pid(host, job.key), signal.SIGKILL)
    kill_processes_of(job.key)
    wipe(host.settings.jobs_dir)
    await eventually(lambda: not orphans(host.settings.jobs_dir, ()) and processes_of(job.key) == [])
    async with later.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: AWAY in runner.statuses()[job.key].message)
        assert there() == [before]
        up.touch()
        await running(runner, job.key)
        assert there() == [before]
        await runner.converge({})
        assert (await ended(runner, job.key)).outcome is Outcome.STOPPED


async def test_a_job_ran_for_as_long_as_slurm_says(host: Host, slurm_conf: Path) -> None:
    job = spec("timed", "sleep 1.5")
    async with host.daemon() as runner:
        status = (await host.run(runner, job))[job.key]
    said = ask(slurm_conf, "squeue", "-h", "-t", "all", "-o", "%M", f"--name=orquanta-{job.key}").strip()
    minutes, _, seconds = said.rpartition(":")
    assert status.runtime_seconds == int(minutes or 0) * 60 + int(seconds) > 0


async def test_a_job_that_a_stranger_cancels_says_so(host: Host, slurm_conf: Path) -> None:
    job = spec("taken", "exec sleep 600", gpu_uuids=H100[:1])
    async with host.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        ask(slurm_conf, "scancel", f"--name=orquanta-{job.key}")
        status = await ended(runner, job.key)
    assert (status.outcome, status.signal) == (Outcome.SIGNALED, signal.SIGTERM)
    assert "cancelled in Slurm" in status.message


async def test_a_stop_that_comes_before_slurm_has_started_the_job_on_its_node_ends_it_all_the_same(
    host: Host, slurm_conf: Path, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    script = f"""/usr/bin/scancel "$@"; code=$?; echo "$*" >> {asked}; exit $code"""
    noted = with_program(host, tmp_path / "bin", "scancel", script)
    job = spec("early", "exec sleep 600", stop_grace_seconds=600.0)
    nodes = [int((slurm_conf.parent / f"slurmd.{name}.pid").read_text()) for name in ("gpu1", "gpu2")]
    async with noted.daemon() as runner:
        for pid in nodes:
            stand_still(pid)
        try:
            await runner.converge({job.key: job})
            await running(runner, job.key)
            await runner.converge({})
            await eventually(lambda: asked.exists() and "--signal=TERM" in asked.read_text())
        finally:
            for pid in nodes:
                os.kill(pid, signal.SIGCONT)
        status = await ended(runner, job.key)
    assert (status.outcome, status.signal) == (Outcome.STOPPED, signal.SIGTERM)


async def test_a_submission_without_an_answer_is_found_and_not_made_twice(
    host: Host, slurm_conf: Path, tmp_path: Path
) -> None:
    job = spec("unheard", "echo once", gpu_uuids=H100[:1])
    unheard = with_program(
        host, tmp_path / "bin", "sbatch", f"""/usr/bin/sbatch "$@" > /dev/null; echo "{AWAY}" >&2; exit 1"""
    )
    async with unheard.daemon() as runner:
        assert (await unheard.run(runner, job))[job.key].succeeded
        assert await output(runner, job.key) == b"once\n"
    assert len(ask(slurm_conf, "squeue", "-h", "-t", "all", f"--name=orquanta-{job.key}").splitlines()) == 1


def test_orders_name_what_slurm_needs(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path, "main", ("--account=research",), gpus_per_node=4)
    order = slurm.order(
        spec("x", "true", gpu_uuids=H100[:6], memory_limit_bytes=3 << 30, cpu_limit_milli=1500, max_runtime_seconds=90),
        {"A": "b c"},
    )
    for part in ("nodes=2", "gres=gpu:h100:3", "mem=3072M", "cpus-per-task=2", "time=3", "account=research"):
        assert f'"--{part}"' in order
    assert "export A='b c'" in order
