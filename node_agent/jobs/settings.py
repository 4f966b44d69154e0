"""How jobs run on this host, as the composition root decides it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node_agent.jobs.container import ContainerSettings
from node_agent.jobs.executor import Executor

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Where and how jobs run.

    `state_dir` holds everything that must outlive the daemon; jobs go below `state_dir/jobs`. `base_env` is added to
    the environment of every process job (not of containers), a PATH for example. `cgroup_parent` is a path inside each
    cgroup hierarchy, None for no cgroups. `isolate_pids` gives each job a process namespace where the host allows it.
    `run_as` is the (uid, gid) of process jobs, None for the daemon's own. A job keeps at most `log_segments` files of
    `log_segment_bytes` each. Acknowledged results are kept up to `retained_members` and `retained_bytes`.
    `mps_pipe_directory` is where an MPS control daemon listens, None where there is none to enforce parts of GPUs.
    `executor` is what runs jobs in place of this host, None for the host itself.
    A fenced job gets `fence_grace_seconds` (or its own grace, if that is shorter) between SIGTERM and SIGKILL.
    """

    state_dir: Path
    virtual_gpus: bool = False
    base_env: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str | None = "/orquanta"
    isolate_pids: bool = True
    run_as: tuple[int, int] | None = None
    log_segment_bytes: int = 8 * _MIB
    log_segments: int = 8
    retained_members: int = 200
    retained_bytes: int = 10 * 1024 * _MIB
    fence_grace_seconds: float = 5.0
    mps_pipe_directory: Path | None = None
    executor: Executor | None = None
    parallel_starts: int = 4
    container: ContainerSettings = field(default_factory=ContainerSettings)

    @property
    def jobs_dir(self) -> Path:
        """The directory that holds one directory per member."""
        return (self.state_dir / "jobs").absolute()

    @property
    def fence_file(self) -> Path:
        """The file that holds the time after which jobs must not run."""
        return self.jobs_dir / "fence"
