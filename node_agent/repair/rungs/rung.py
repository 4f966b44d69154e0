"""What every rung of the ladder is: preconditions, steps, and how to conclude after a kill."""

from dataclasses import dataclass
from typing import Protocol

from node_agent.health.model import Rung
from node_agent.repair.ports import RepairGpu
from node_agent.repair.work import Work


@dataclass(frozen=True, slots=True)
class Precondition:
    """Something that must hold before anything is done. `detail` says why it does not, and what to do."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What can be said of a repair that was cut off: whether a verification decides, or why it failed."""

    verify: bool
    message: str


@dataclass(frozen=True, slots=True)
class Scope:
    """What a verification is about. `load` says whether the GPUs are tested under load."""

    gpus: tuple[RepairGpu, ...]
    load: bool


class RungWork(Protocol):
    """One rung. All of it works on a `Work`, which records every step."""

    @property
    def rung(self) -> Rung:
        """Which one."""
        ...

    @property
    def timeout_seconds(self) -> float:
        """After this, no further step is begun; what was done is taken back."""
        ...

    def touched(self, work: Work) -> tuple[RepairGpu, ...] | None:
        """Return the GPUs that must take no jobs meanwhile; None for the whole host, empty for none."""
        ...

    async def preconditions(self, work: Work) -> list[Precondition]:
        """Look whether it may be done; changes nothing. Raises StepFailed if it cannot be told."""
        ...

    async def plan(self, work: Work) -> list[str]:
        """Say exactly what would be done, in order; changes nothing."""
        ...

    async def carry_out(self, work: Work) -> None:
        """Do it, step by step. Raises StepFailed, Interrupted, JournalUnusable."""
        ...

    async def conclude(self, work: Work) -> Conclusion:
        """Say what became of it after the daemon or the host went down in its midst; repeats nothing blindly."""
        ...

    def scope(self, work: Work) -> Scope:
        """Return what is to be verified afterwards."""
        ...
