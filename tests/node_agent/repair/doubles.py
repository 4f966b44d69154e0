"""What a repair asks of the rest of the daemon, played on the stage."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from node_agent.health.model import Condition
from node_agent.probe.samples import (
    GpuSample,
)
from node_agent.repair.ports import (
    GpuReading,
    HostJob,
    NvlinkReading,
    Reading,
    RepairGpu,
    VirtualGpus,
)
from tests.node_agent.repair.stage import Stage
from tests.node_agent.repair.values import gpu, sample


class Hardware:
    """Two GPUs that answer well, unless a test says otherwise. The daemon's own probe is a real process."""

    def __init__(self, stage: "Stage", *, virtual: VirtualGpus | None = None) -> None:
        self._stage = stage
        self._virtual = virtual
        self.list: tuple[RepairGpu, ...] = (gpu(0), gpu(1))
        self.samples: dict[str, GpuSample] = {f"GPU-{index}": sample(index) for index in (0, 1)}
        self.nvlinks: dict[str, tuple[NvlinkReading, ...]] = {}
        self.nvml_error: str | None = None
        self.on_read: Callable[[], None] = lambda: None
        self.probe: subprocess.Popen[bytes] | None = None

    @property
    def virtual(self) -> VirtualGpus | None:
        return self._virtual

    def gpus(self) -> Sequence[RepairGpu]:
        return self.list

    def own_process_ids(self) -> frozenset[int]:
        return frozenset({os.getpid()} | ({self.probe.pid} if self.probe else set()))

    async def release(self) -> None:
        self.stop_probe()

    async def reacquire(self) -> None:
        self.start_probe()

    def start_probe(self) -> None:
        if self.probe is None:
            handle = os.open(self._stage.devices / "nvidia0", os.O_RDONLY)
            self.probe = subprocess.Popen(  # it ends with the daemon, however that ends
                ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[handle]
            )
            os.close(handle)

    async def read(self) -> Reading:
        self.on_read()
        if self.nvml_error:
            return Reading(self.nvml_error)
        return Reading(None, {uuid: GpuReading(found, self.nvlinks.get(uuid)) for uuid, found in self.samples.items()})

    def stop_probe(self) -> None:
        if self.probe is not None:
            assert self.probe.stdin is not None
            self.probe.stdin.close()
            self.probe.kill()
            self.probe.wait()
            self.probe = None


@dataclass
class Jobs:
    """Jobs as the daemon's runner would tell of them."""

    running: list[HostJob] = field(default_factory=list)
    supervisors: frozenset[int] = frozenset()
    held: list[tuple[str, ...]] = field(default_factory=list)
    holds_now: tuple[str, ...] | None = None
    stopped: list[str] = field(default_factory=list)

    def jobs(self) -> Sequence[HostJob]:
        return self.running

    def protected_process_ids(self) -> frozenset[int]:
        return self.supervisors

    def hold(self, gpu_uuids: Collection[str]) -> None:
        self.holds_now = tuple(gpu_uuids)
        self.held.append(self.holds_now)

    def let_go(self) -> None:
        self.holds_now = None

    async def stop(self, jobs: Sequence[HostJob], reason: str) -> None:
        assert reason
        for job in jobs:
            self.stopped.append(job.job_id)
            self.running.remove(job)
            for pid in job.process_ids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@dataclass
class Health:
    """The conditions of now."""

    now: list[Condition] = field(default_factory=list)

    def conditions(self) -> Sequence[Condition]:
        return self.now


class VirtualBoard:
    """Virtual GPUs that remember what was done to them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.boots = 1

    async def reset(self, gpu_uuids: Collection[str]) -> str:
        self.done.append(f"reset {','.join(gpu_uuids)}")
        return "reset"

    async def reload_driver(self) -> str:
        self.done.append("reload")
        return "reloaded"

    async def restart_service(self, service: str) -> str:
        self.done.append(f"restart {service}")
        return "restarted"

    async def reboot(self) -> str:
        self.boots += 1
        self.done.append("reboot")
        return f"virtual-boot-{self.boots}"
