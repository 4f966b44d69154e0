"""What runs on each virtual GPU, told by the daemon so that telemetry follows the jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """The work on one GPU: utilisation from 0 to 100, bytes of GPU memory in use, host process ids."""

    utilization_percent: int = 0
    memory_bytes: int = 0
    process_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.utilization_percent <= 100:  # noqa: PLR2004 - percent
            raise ValueError(f"utilization_percent must be from 0 to 100, not {self.utilization_percent}")
        if self.memory_bytes < 0:
            raise ValueError(f"memory_bytes must not be negative, and is {self.memory_bytes}")


IDLE: Final = GpuLoad()


class Load(Protocol):
    """Says what runs on a GPU at this moment."""

    def of(self, uuid: str) -> GpuLoad:
        """Return the load of the GPU with this UUID; `IDLE` if nothing runs there. Called from any thread."""
        ...


class LoadTable:
    """A load that is set from outside.

    The daemon replaces the whole table when a job starts or ends; a reader in the sampling thread sees either
    the table before or the one after, never a mixture.
    """

    def __init__(self, loads: Mapping[str, GpuLoad] | None = None) -> None:
        self._loads: dict[str, GpuLoad] = dict(loads or {})

    def of(self, uuid: str) -> GpuLoad:
        """Return the load of one GPU."""
        return self._loads.get(uuid, IDLE)

    def replace(self, loads: Mapping[str, GpuLoad]) -> None:
        """Forget all loads and take these; GPUs that are not named are idle."""
        self._loads = dict(loads)

    def put(self, uuid: str, load: GpuLoad) -> None:
        """Set the load of one GPU."""
        self._loads = {**self._loads, uuid: load}

    def clear(self, uuid: str) -> None:
        """Make one GPU idle."""
        self._loads = {key: value for key, value in self._loads.items() if key != uuid}
