"""What a game day's scenario is, and what several of them need."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orquanta.gameday.fleet import Host
from orquanta.gameday.stage import Stage
from orquanta.types.jobs import Job, JobSpec, JobState, ResourceRequest

_DAY_SECONDS: Final = 600
_SETTINGS: Final = MappingProxyType(
    {"heartbeat_seconds": "1", "default_stop_grace_seconds": "2", "approval_above_usd": "1000"}
)


def _nothing() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One game day: `play` sets the stage, puts the faults in and says what had to hold.

    `settings` are the control plane's. `most_out` is how many hosts may be out of service at once. `obstacle` says
    why it cannot be played on this machine.
    """

    name: str
    title: str
    proves: str
    play: Callable[[Stage], Awaitable[None]]
    settings: Mapping[str, str] = field(default_factory=dict)
    most_out: int = 1
    obstacle: Callable[[], str] = _nothing

    @property
    def all_settings(self) -> dict[str, str]:
        """The settings of its control plane."""
        return {**_SETTINGS, **self.settings}


class Work:
    """A job that runs until it is told to end."""

    def __init__(self, stage: Stage, job_id: str, signal: Path) -> None:
        self._stage = stage
        self._signal = signal
        self.job_id = job_id

    async def host(self) -> Host:
        """The host that it runs on now."""
        job = await self.runs()
        return next(
            one for one in self._stage.fleet.hosts.values() if one.node_id == job.allocations[-1].members[0].node_id
        )

    async def runs(self, *, epoch: int = 1) -> Job:
        """Wait until its attempt `epoch` runs."""

        async def holds() -> bool:
            job = await self._stage.admin.jobs.get(self.job_id)
            return job.state is JobState.RUNNING and job.epoch >= epoch

        await self._stage.until(f"the job runs, attempt {epoch}", holds)
        return await self._stage.admin.jobs.get(self.job_id)

    async def ends_well(self) -> None:
        """Tell it to end, and expect that it succeeds."""
        self._signal.touch()

        async def holds() -> bool:
            return (await self._stage.admin.jobs.get(self.job_id)).state.ended

        await self._stage.until("the job ends", holds)
        job = await self._stage.admin.jobs.get(self.job_id)
        self._stage.expect("the job succeeded", job.state is JobState.SUCCEEDED, job.status_reason)


async def start_work(stage: Stage, gpus: int, gpu_type: str = "H100") -> Work:
    """Submit a job that runs until it is told to end."""
    signal = stage.fleet.directory / "the-job-may-end"
    spec = JobSpec(
        "training",
        ResourceRequest(gpus, (gpu_type,)),
        command=f"while [ ! -e {signal} ]; do sleep 0.2; done",
        max_runtime_seconds=_DAY_SECONDS,
    )
    submitted = await stage.admin.jobs.submit(spec)
    return Work(stage, submitted.job.id, signal)
