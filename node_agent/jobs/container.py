"""Command lines for podman and docker. Nothing here runs them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node_agent.jobs.environment import DEFAULT_PATH, MARKER
from node_agent.jobs.spec import MemberSpec

_ENGINES = ("podman", "docker")
_INSPECT = "{{.State.Pid}}|{{.State.OOMKilled}}|{{.State.StartedAt}}|{{.State.ExitCode}}"


class NoEngineError(Exception):
    """What a job needs to run in or on is not here; the text says what it is and what to do."""


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """How containers are run on this host.

    `engine` is a program's name or path, None for podman or else docker, whichever is there. `engine_arguments` go
    before the engine's subcommand, `run_arguments` after `run`. `environment` is the engine client's own.
    """

    engine: str | None = None
    engine_arguments: tuple[str, ...] = ()
    run_arguments: tuple[str, ...] = ()
    network: str = "host"
    shared_memory: str = "8g"
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": DEFAULT_PATH, "HOME": "/root"})


@dataclass(frozen=True, slots=True)
class ContainerCommands:
    """The engine's command lines for one member: `run` in the foreground, and what the supervisor calls on the side."""

    run: tuple[str, ...]
    calls: Mapping[str, tuple[str, ...]]


def container_name(spec: MemberSpec) -> str:
    """Return the name of a member's container."""
    return f"orquanta-{spec.key}"


def find_engine(settings: ContainerSettings) -> str:
    """Return the path of the engine to use. Raises NoEngineError."""
    path = settings.environment.get("PATH", DEFAULT_PATH)
    wanted = (settings.engine,) if settings.engine else _ENGINES
    for name in wanted:
        if found := shutil.which(name, path=path):
            return found
    raise NoEngineError(
        f"the job names an image, and this host has no container engine ({' or '.join(wanted)} in {path}); "
        "install podman, or give the job a command without an image"
    )


def build(
    spec: MemberSpec,
    env: Mapping[str, str],
    env_file: str,
    settings: ContainerSettings,
    *,
    virtual_gpus: bool,
    mps_pipe_directory: Path | None = None,
) -> ContainerCommands:
    """Return the command lines for a member that names an image.

    `env_file` is where the caller puts `env_file_text(env)`. Raises NoEngineError.
    """
    assert spec.image is not None
    engine = (find_engine(settings), *settings.engine_arguments)
    name = container_name(spec)
    command = ("/bin/sh", "-c", spec.command) if isinstance(spec.command, str) else spec.command
    run = (
        *engine,
        "run",
        f"--name={name}",
        f"--label={MARKER}={spec.key}",
        f"--label=ORQUANTA_JOB_ID={spec.job_id}",
        f"--network={settings.network}",
        *_memory_shared(spec, settings, mps_pipe_directory),
        "--security-opt=no-new-privileges",
        f"--env-file={env_file}",
        *(f"--env={key}={value}" for key, value in env.items() if "\n" in value),
        *(() if virtual_gpus else (f"--device=nvidia.com/gpu={gpu}" for gpu in spec.gpu_uuids)),
        *_limits(spec),
        *((f"--workdir={spec.working_dir}",) if spec.working_dir else ()),
        *settings.run_arguments,
        spec.image,
        *command,
    )
    calls = {
        "inspect": (*engine, "inspect", "--type=container", f"--format={_INSPECT}", name),
        "stop": (*engine, "stop", "--time={grace}", name),
        "kill": (*engine, "kill", name),
        "remove": (*engine, "rm", "--force", name),
    }
    return ContainerCommands(run, calls)


def env_file_text(env: Mapping[str, str]) -> str:
    """Return the content of an --env-file; values of several lines cannot go there and are passed one by one."""
    return "".join(f"{key}={value}\n" for key, value in env.items() if "\n" not in value)


def _memory_shared(spec: MemberSpec, settings: ContainerSettings, mps_pipe_directory: Path | None) -> tuple[str, ...]:
    """Return the options for shared memory; clients of MPS share the host's, and need its pipes."""
    if not spec.gpu_milli or mps_pipe_directory is None:
        return (f"--shm-size={settings.shared_memory}",)
    return "--ipc=host", f"--volume={mps_pipe_directory}:{mps_pipe_directory}"


def _limits(spec: MemberSpec) -> tuple[str, ...]:
    limits = []
    if spec.memory_limit_bytes:
        limits += [f"--memory={spec.memory_limit_bytes}b", f"--memory-swap={spec.memory_limit_bytes}b"]
    if spec.cpu_limit_milli:
        limits.append(f"--cpus={spec.cpu_limit_milli / 1000:.3f}")
    if spec.pids_limit:
        limits.append(f"--pids-limit={spec.pids_limit}")
    return tuple(limits)
