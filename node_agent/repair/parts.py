"""What all rungs work with: the host's parts, its tools, and the limits that hold for every repair."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from node_agent.clock import Clock
from node_agent.probe.bounded.threads import DeadlineThreads, NoThread, Stuck
from node_agent.repair import holders
from node_agent.repair.errors import StepFailed
from node_agent.repair.hands import Hands
from node_agent.repair.holders import Holders
from node_agent.repair.journal import RepairJournal
from node_agent.repair.ports import HardwareControl, HealthView, JobControl

_Result = TypeVar("_Result")

_LOOK_SECONDS = 30.0
"""For looks into /proc: a process that hangs in the kernel can hold one up for ever."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, and where they are. Seconds, all of them."""

    terminate_seconds: float = 10.0
    """Between SIGTERM and SIGKILL."""
    kill_seconds: float = 10.0
    """After SIGKILL; a process that is there still hangs in the kernel."""
    stop_jobs_seconds: float = 180.0
    release_seconds: float = 30.0
    reboot_seconds: float = 600.0
    """After the order to reboot, until the same boot means that it failed."""
    leftovers_seconds: float = 240.0
    """For commands that an earlier daemon left running."""
    stop_seconds: float = 20.0
    """When the daemon is stopped: for the step in hand to end and what was done to be taken back."""
    undo_pause_seconds: float = 2.0
    read_seconds: float = 60.0
    cuda_seconds: float = 20.0
    """How long memory and matrix checks work on one GPU; they cover what they can in that time."""
    cuda_deadline_seconds: float = 90.0
    canary_seconds: float = 5.0
    canary_deadline_seconds: float = 60.0
    device_prefix: str = holders.DEVICE_PREFIX
    modules_file: Path = Path("/proc/modules")
    lock_file: Path | None = None
    """One repair at a time among all processes that name this file; in the journal's directory if None."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one engine."""

    journal: RepairJournal
    hands: Hands
    hardware: HardwareControl
    jobs: JobControl
    health: HealthView
    clock: Clock
    threads: DeadlineThreads
    node_id: str
    limits: Limits = field(default_factory=Limits)

    async def holders(self) -> Holders:
        """Return who has devices of GPUs open. Virtual GPUs have none: the real ones of the machine are not theirs.

        Devices that stand in for real ones belong to this user, so processes of others are not missed.
        """
        prefix = self.limits.device_prefix
        real = prefix == holders.DEVICE_PREFIX
        if real and self.hardware.virtual is not None:
            return Holders((), 0)
        found = await self.look("open devices", lambda: holders.find_holders(prefix))
        return found if real else Holders(found.holders, 0)

    async def look(self, what: str, function: Callable[[], _Result]) -> _Result:
        """Run a blocking look at the host in a thread that nobody waits for beyond a deadline; raises StepFailed."""
        try:
            return await self.threads.call(f"repair {what}", function, _LOOK_SECONDS)
        except Stuck as stuck:
            raise StepFailed(f"looking at {what} hangs ({stuck}): a process hangs in the kernel") from stuck
        except NoThread as none:
            raise StepFailed(str(none)) from none
        except OSError as error:
            raise StepFailed(f"looking at {what} failed: {error.strerror}") from error
