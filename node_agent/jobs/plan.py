"""From a specification to what a supervisor does: exact arguments, environment and paths."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node_agent.jobs import container, environment, proc
from node_agent.jobs.executor import ORDER_FILE, Executor
from node_agent.jobs.gpu_share import share_environment
from node_agent.jobs.settings import RunnerSettings
from node_agent.jobs.spec import MemberSpec

NOTICE_SOCKET = "notices.sock"
WORK_DIRECTORY = "work"
TEMPORARY_DIRECTORY = "tmp"
ENV_FILE = "container.env"


def make(spec: MemberSpec, settings: RunnerSettings, directory: Path) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Return the plan for a member that lives in `directory`, and the files that it needs there, by name.

    The fields are those of supervisor/plan.py. Raises NoEngineError.
    """
    common = {
        "name": str(spec.key),
        "fence_file": str(settings.fence_file),
        "boot_id": proc.boot_id(),
        "notice_socket": f"../{NOTICE_SOCKET}",  # relative: a socket's address holds at most 107 bytes
        "log_segment_bytes": settings.log_segment_bytes,
        "log_segments": settings.log_segments,
        "max_runtime_seconds": spec.max_runtime_seconds,
        "stop_grace_seconds": spec.stop_grace_seconds,
        "checkpoint_signal": spec.checkpoint_signal,
        "checkpoint_seconds": spec.checkpoint_seconds,
        "gpu_share_enforced": bool(spec.gpu_milli) and settings.mps_pipe_directory is not None,
        "fence_grace_seconds": settings.fence_grace_seconds,
        "cgroup_parent": settings.cgroup_parent,
        "cgroup_name": environment.cgroup_name(str(spec.key), settings.jobs_dir),
        "isolate": settings.isolate_pids,
        "limits": {
            "memory_bytes": spec.memory_limit_bytes,
            "cpu_milli": spec.cpu_limit_milli,
            "pids": spec.pids_limit,
        },
    }
    share = share_environment(spec, settings.mps_pipe_directory)
    if settings.executor is not None:
        return _elsewhere(spec, settings.executor, common, directory)
    if spec.image is None:
        return {**common, **_process(spec, settings, directory, share)}, {}
    env = environment.container_environment(spec, settings.jobs_dir, virtual_gpus=settings.virtual_gpus, share=share)
    commands = container.build(
        spec,
        env,
        str(directory / ENV_FILE),
        settings.container,
        virtual_gpus=settings.virtual_gpus,
        mps_pipe_directory=settings.mps_pipe_directory,
    )
    client_env = {**settings.container.environment, **environment.marks(str(spec.key), settings.jobs_dir)}
    plan = {
        **common,
        "argv": commands.run,
        "env": client_env,
        "cwd": "/",
        "user": None,
        "container": dict(commands.calls),
    }
    return plan, {ENV_FILE: container.env_file_text(env)}


def _elsewhere(
    spec: MemberSpec, executor: Executor, common: dict[str, Any], directory: Path
) -> tuple[dict[str, Any], Mapping[str, str]]:
    commands = executor.commands(directory)
    plan = {
        **common,
        "argv": commands.run,
        "env": {**commands.environment, **environment.marks(str(spec.key), directory.parent)},
        "cwd": "/",
        "user": None,
        "container": None,
        "site": {"kill": commands.kill, "signal": commands.signal},
    }
    return plan, {ORDER_FILE: executor.order(spec, environment.site_environment(spec))}


def _process(spec: MemberSpec, settings: RunnerSettings, directory: Path, share: Mapping[str, str]) -> dict[str, Any]:
    uid = os.getuid() if settings.run_as is None else settings.run_as[0]
    base = environment.host_environment(
        str(directory / WORK_DIRECTORY), str(directory / TEMPORARY_DIRECTORY), _user_name(uid), settings.base_env
    )
    command = ("/bin/sh", "-c", spec.command) if isinstance(spec.command, str) else spec.command
    return {
        "argv": command,
        "env": environment.process_environment(
            spec, base, settings.jobs_dir, virtual_gpus=settings.virtual_gpus, share=share
        ),
        "cwd": spec.working_dir or str(directory / WORK_DIRECTORY),
        "user": settings.run_as,
        "container": None,
    }


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
