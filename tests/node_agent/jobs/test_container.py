"""Containers: the engine's command lines, and a real engine where this machine has one."""

import asyncio
import io
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_agent.jobs.container import ContainerSettings, NoEngineError, build, env_file_text, find_engine
from node_agent.jobs.proc import kernel_oom_kills
from node_agent.jobs.status import MemberState, Outcome
from tests.node_agent.jobs.host import (
    Host,
    ended,
    eventually,
    kill_daemon,
    outcomes_of_sigkill,
    output,
    processes_with_argument,
    running,
    spec,
    supervisor_pid,
)

IMAGE = "localhost/orquanta-test:busybox"
JOB = spec(
    "box",
    "echo $HOME",
    image="registry.example/train:1",
    gpu_uuids=("GPU-1", "GPU-2"),
    memory_limit_bytes=1 << 30,
    cpu_limit_milli=2500,
    pids_limit=64,
    working_dir="/src",
)


@pytest.fixture
def engine(tmp_path: Path) -> ContainerSettings:
    """A program that is found and never run."""
    path = tmp_path / "bin/podman"
    path.parent.mkdir()
    path.touch(mode=0o755)
    return ContainerSettings(
        engine_arguments=("--runtime", "runc"),
        run_arguments=("--ulimit=nofile=1024:1024",),
        network="none",
        environment={"PATH": str(path.parent)},
    )


def test_the_command_line_names_the_member_its_gpus_and_its_limits(engine: ContainerSettings, tmp_path: Path) -> None:
    env = {"A": "1", "B": "two\nlines"}
    commands = build(JOB, env, "/x/container.env", engine, virtual_gpus=False)
    assert commands.run == (
        str(tmp_path / "bin/podman"),
        "--runtime",
        "runc",
        "run",
        f"--name=orquanta-{JOB.key}",
        f"--label=ORQUANTA_MEMBER={JOB.key}",
        "--label=ORQUANTA_JOB_ID=j-box",
        "--network=none",
        "--shm-size=8g",
        "--security-opt=no-new-privileges",
        "--env-file=/x/container.env",
        "--env=B=two\nlines",
        "--device=nvidia.com/gpu=GPU-1",
        "--device=nvidia.com/gpu=GPU-2",
        "--memory=1073741824b",
        "--memory-swap=1073741824b",
        "--cpus=2.500",
        "--pids-limit=64",
        "--workdir=/src",
        "--ulimit=nofile=1024:1024",
        "registry.example/train:1",
        "/bin/sh",
        "-c",
        "echo $HOME",
    )
    assert env_file_text(env) == "A=1\n"


def test_virtual_gpus_are_not_asked_of_the_engine(engine: ContainerSettings) -> None:
    assert not any("--device" in part for part in build(JOB, {}, "/x", engine, virtual_gpus=True).run)


def test_an_image_without_a_command_runs_its_own(engine: ContainerSettings) -> None:
    job = spec("own", (), image="busybox")
    assert build(job, {}, "/x", engine, virtual_gpus=False).run[-1] == "busybox"


def test_a_host_without_an_engine_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(NoEngineError, match="install podman"):
        find_engine(ContainerSettings(environment={"PATH": str(tmp_path)}))


async def test_an_image_on_a_host_without_an_engine_fails_to_start(tmp_path: Path) -> None:
    bare = Host(tmp_path / "state", container=ContainerSettings(environment={"PATH": str(tmp_path)}))
    async with bare.daemon() as runner:
        status = (await bare.run(runner, JOB))[JOB.key]
    assert status.outcome is Outcome.START_FAILED
    assert "no container engine" in status.message


def import_image() -> str | None:
    """Make the image that the tests run; return why not."""
    podman, runc, busybox = (shutil.which(name) for name in ("podman", "runc", "busybox"))
    if podman is None or runc is None or busybox is None:
        return "podman, runc and a static busybox are not all installed"
    if subprocess.run([podman, "image", "exists", IMAGE], check=False).returncode == 0:
        return None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "sleep", "env", "echo", "dd", "kill", "trap", "touch", "cat"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name in ("tmp", "proc", "sys", "dev", "etc"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
    done = subprocess.run([podman, "import", "-", IMAGE], input=buffer.getvalue(), capture_output=True, check=False)
    if done.returncode != 0:
        return f"podman cannot import an image here: {done.stderr.decode()[-200:]}"
    probe = [podman, "--runtime=runc", "run", "--rm", "--network=none", *LIMITS, IMAGE, "/bin/echo"]
    done = subprocess.run(probe, capture_output=True, check=False)
    return None if done.returncode == 0 else f"podman cannot run containers here: {done.stderr.decode()[-200:]}"


LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")


@pytest.fixture(scope="session")
def podman_ready() -> None:
    if (reason := import_image()) is not None:
        pytest.skip(reason)


@pytest.fixture
def boxes(tmp_path: Path, podman_ready: None) -> Iterator[Host]:
    """A host on which podman runs for real."""
    made = Host(
        tmp_path / "state",
        virtual_gpus=True,
        container=ContainerSettings(
            engine="podman",
            engine_arguments=("--runtime=runc",),
            run_arguments=(*LIMITS, "--pull=never"),
            network="none",
            shared_memory="64m",
        ),
    )
    yield made
    made.clean_up()
    for name in containers():
        subprocess.run(["podman", "--runtime=runc", "rm", "-f", name], check=False, capture_output=True)


def containers() -> list[str]:
    listed = subprocess.run(
        ["podman", "--runtime=runc", "ps", "-a", "--filter=label=ORQUANTA_MEMBER", "--format={{.Names}}"],
        check=True,
        capture_output=True,
    )
    return [name for name in listed.stdout.decode().split() if f"-{os.getpid()}." in name]


async def test_a_container_gives_its_exit_code_output_and_environment_and_is_removed(boxes: Host) -> None:
    job = spec("real", "env; echo oops >&2; exit 3", image=IMAGE, gpu_uuids=("GPU-1",), env={"MINE": "a b=c"})
    async with boxes.daemon() as runner:
        status = (await boxes.run(runner, job))[job.key]
        text = (await output(runner, job.key)).decode()
    assert (status.outcome, status.exit_code) == (Outcome.EXITED, 3)
    assert {"MINE=a b=c", f"ORQUANTA_MEMBER={job.key}", "CUDA_VISIBLE_DEVICES=GPU-1", "oops"} <= set(text.splitlines())
    assert containers() == []


async def test_a_container_that_cannot_start_says_why(boxes: Host) -> None:
    jobs = [
        spec("noimage", "true", image="localhost/no-such-image:1"),
        spec("nocommand", ("/no/such/program",), image=IMAGE),
    ]
    shell = spec("shell", "no-such-program", image=IMAGE)
    async with boxes.daemon() as runner:
        found = await boxes.run(runner, *jobs, shell)
    assert [found[job.key].outcome for job in jobs] == [Outcome.START_FAILED] * 2
    assert "image's name" in found[jobs[0].key].message
    assert "no-such-image" in found[jobs[0].key].message
    assert "no such command" in found[jobs[1].key].message
    assert (found[shell.key].outcome, found[shell.key].exit_code) == (Outcome.EXITED, 127)
    assert containers() == []


async def test_a_container_that_ignores_sigterm_is_killed_after_its_grace(boxes: Host) -> None:
    mark = f"3{os.getpid()}.25"
    job = spec("stubborn", f"trap '' TERM; sleep {mark} & sleep {mark}", image=IMAGE, stop_grace_seconds=1)
    async with boxes.daemon() as runner:
        await runner.converge({job.key: job})
        await eventually(lambda: len(processes_with_argument(mark)) == 2)
        await runner.converge({})
        status = await ended(runner, job.key)
    assert (status.outcome, status.signal) == (Outcome.STOPPED, signal.SIGKILL)
    assert processes_with_argument(mark) == []
    assert containers() == []


async def test_a_container_outlives_its_daemon_and_is_adopted(boxes: Host) -> None:
    mark = f"2{os.getpid()}.25"
    job = spec("adopted", f"sleep {mark}", image=IMAGE)
    oom_kills = kernel_oom_kills()
    daemon = boxes.daemon_process(job)
    await eventually(lambda: processes_with_argument(mark) != [])
    kill_daemon(daemon)
    async with boxes.daemon() as runner:
        assert runner.statuses()[job.key].state is MemberState.RUNNING
        await asyncio.to_thread(os.kill, processes_with_argument(mark)[0], signal.SIGKILL)
        status = await ended(runner, job.key)
    assert status.outcome in outcomes_of_sigkill(oom_kills)
    assert status.signal == signal.SIGKILL


async def test_a_container_whose_supervisor_is_killed_is_removed(boxes: Host) -> None:
    mark = f"1{os.getpid()}.25"
    job = spec("lost", f"sleep {mark}", image=IMAGE)
    async with boxes.daemon() as runner:
        await runner.converge({job.key: job})
        await running(runner, job.key)
        await eventually(lambda: processes_with_argument(mark) != [])
        os.kill(supervisor_pid(boxes, job.key), signal.SIGKILL)
        status = await ended(runner, job.key)
    assert status.outcome is Outcome.SUPERVISOR_LOST
    assert processes_with_argument(mark) == []
    assert containers() == []


async def test_a_container_over_its_memory_limit_is_reported_as_out_of_memory(boxes: Host) -> None:
    job = spec("hog", "dd if=/dev/zero of=/dev/null bs=200M count=1", image=IMAGE, memory_limit_bytes=32 << 20)
    async with boxes.daemon() as runner:
        status = (await boxes.run(runner, job))[job.key]
    assert (status.outcome, status.oom_killed) == (Outcome.OOM_KILLED, True)
