"""A GPU host made of ordinary files and processes: device files, services that hold them, scripts in place of tools."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from node_agent.clock import Clock, SystemClock
from node_agent.health.model import Condition, GpuIdentity, Rung, Scope, Severity
from node_agent.probe.samples import (
    EccCounts,
    GpuSample,
    PcieLink,
    RecoveryAction,
    RemappedRows,
    RetiredPages,
    ThrottleReason,
)
from node_agent.repair import processes
from node_agent.repair.engine import RepairEngine
from node_agent.repair.journal import RepairJournal
from node_agent.repair.model import Origin, RepairOrder, RepairRecord
from node_agent.repair.parts import Limits
from node_agent.repair.ports import (
    GpuReading,
    HostJob,
    NvlinkReading,
    Reading,
    RepairGpu,
    VirtualGpus,
)
from node_agent.repair.toolbox import Toolbox
from tests.node_agent.repair.stand_ins import BUG_REPORT, COMMON, HOLD, MODPROBE, NVIDIA_SMI, SYSTEMCTL

PATIENCE_SECONDS = 60.0
BOOT = "boot-one"
EXPORTER, DCGM, PERSISTENCED = "dcgm-exporter.service", "nvidia-dcgm.service", "nvidia-persistenced.service"
HOLDING = (EXPORTER, DCGM, PERSISTENCED)


def gpu(index: int, *, capability: tuple[int, int] = (9, 0), peers: Collection[str] = ()) -> RepairGpu:
    return RepairGpu(
        GpuIdentity(
            uuid=f"GPU-{index}",
            index=index,
            pci_bus_id=f"00000000:{0x1B + index:02X}:00.0",
            gpu_type="H100",
            serial=f"165{index}",
            driver_version="580.95.05",
        ),
        minor_number=index,
        nvlink_peers=frozenset(peers),
        compute_capability=capability,
    )


def sample(index: int) -> GpuSample:
    return GpuSample(
        index=index,
        uuid=f"GPU-{index}",
        utilization_percent=0,
        memory_utilization_percent=0,
        memory_total_bytes=80 * 2**30,
        memory_used_bytes=0,
        power_watts=70.0,
        power_limit_watts=700.0,
        energy_joules=1.0,
        temperature_celsius=40,
        memory_temperature_celsius=40,
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
        performance_state=0,
        throttle_reasons=ThrottleReason.NONE,
        ecc=EccCounts(0, 0, 0, 0),
        pcie=PcieLink(5, 5, 16, 16, 0),
        remapped_rows=RemappedRows(0, 0, pending=False, failure=False),
        retired_pages=RetiredPages(0, 0, pending=False),
        recovery_action=RecoveryAction.NONE,
        processes=(),
        failures=(),
    )


def condition(
    kind: str = "XID",
    *,
    repair: Rung | None = Rung.RESET_GPU,
    gpu_uuid: str = "GPU-0",
    identity: str = "",
    count: int = 1,
    severity: Severity = Severity.FATAL,
    process_ids: tuple[int, ...] = (),
    service: str = "",
    first_seen_at: datetime = datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
    last_seen_at: datetime | None = None,
) -> Condition:
    return Condition(
        id=identity or f"gpu/{gpu_uuid}/{kind.lower()}",
        scope=Scope.GPU if gpu_uuid else Scope.HOST,
        subject=gpu_uuid,
        kind=kind,
        severity=severity,
        summary=f"{kind} on {gpu_uuid or 'the host'}",
        first_seen_at=first_seen_at,
        last_seen_at=last_seen_at or first_seen_at,
        count=count,
        gpu_uuid=gpu_uuid,
        repair=repair,
        process_ids=process_ids,
        service=service,
    )


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


class Stage:
    """The files and processes of one host, in one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.devices, self.state, self.tools = root / "devices", root / "state", root / "tools"
        self.journal_dir = root / "repairs"

    def build(self, services: Sequence[str] = HOLDING) -> None:
        for directory in (self.devices, self.state, self.tools):
            directory.mkdir(parents=True)
        for index in (0, 1):
            (self.devices / f"nvidia{index}").touch()
        self._script(self.root / "hold", HOLD)
        for name, text in (
            ("systemctl", SYSTEMCTL),
            ("nvidia-smi", NVIDIA_SMI),
            ("modprobe", MODPROBE),
            ("nvidia-bug-report.sh", BUG_REPORT),
        ):
            self._script(self.tools / name, COMMON + text)
        (self.state / "modules").write_text("nvidia_uvm 1 0 - Live 0x0\nnvidia 1 1 nvidia_uvm, Live 0x0\nxfs 1 0 -\n")
        for service in services:
            (self.state / f"installed-{service}").touch()
            subprocess.run([self.root / "hold", self.state / f"{service}.pid"], check=True)
        assert self.running_services() == set(services)

    def _script(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def limits(self) -> Limits:
        return Limits(
            terminate_seconds=1.0,
            kill_seconds=20.0,
            reboot_seconds=0.5,
            leftovers_seconds=30.0,
            stop_seconds=30.0,
            undo_pause_seconds=0.01,
            cuda_seconds=0.2,
            canary_seconds=0.1,
            device_prefix=str(self.devices / "nvidia"),
            modules_file=self.state / "modules",
        )

    def log(self) -> list[str]:
        """What the stand-ins were asked, without questions."""
        try:
            lines = (self.state / "log").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line for line in lines if " show " not in line]

    def resets(self) -> int:
        try:
            return len((self.state / "resets").read_text().splitlines())
        except FileNotFoundError:
            return 0

    def fail(self, what: str) -> None:
        (self.state / f"fail-{what}").touch()

    def service_pid(self, service: str) -> int | None:
        try:
            return int((self.state / f"{service}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def running_services(self) -> set[str]:
        return {
            service
            for service in HOLDING
            if (pid := self.service_pid(service)) is not None and processes.look(pid) is not None
        }

    def destroy(self) -> None:
        for pid in processes.all_pids():
            try:
                targets = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
            except OSError:
                continue
            if pid != os.getpid() and any(target.startswith(str(self.devices)) for target in targets):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Host:
    """A stage with an engine on it."""

    def __init__(self, stage: Stage, *, virtual: VirtualGpus | None = None, tools: bool = True) -> None:
        self.stage = stage
        self.hardware = Hardware(stage, virtual=virtual)
        self.jobs, self.health = Jobs(), Health()
        self.seen: list[RepairRecord] = []
        self.clock: Clock = SystemClock()
        self.tools = Toolbox(stage.tools) if tools else Toolbox()

    def engine(self, *, boot_id: str = BOOT, limits: Limits | None = None) -> RepairEngine:
        return RepairEngine(
            journal=RepairJournal(self.stage.journal_dir),
            toolbox=self.tools,
            hardware=self.hardware,
            jobs=self.jobs,
            health=self.health,
            clock=self.clock,
            boot_id=boot_id,
            node_id="n-1",
            on_record=self.seen.append,
            limits=limits or self.stage.limits(),
        )

    async def carry_out(self, order: RepairOrder, engine: RepairEngine | None = None) -> RepairRecord:
        """Order it and wait for its end."""
        engine = engine or self.engine()
        engine.order(order)
        async with running(engine):
            return await ended(engine, order.id)


@contextlib.asynccontextmanager
async def running(engine: RepairEngine):  # type: ignore[no-untyped-def] # noqa: ANN201 - a context of nothing
    task = asyncio.create_task(engine.run())
    try:
        yield
        if task.done():
            await task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ended(engine: RepairEngine, repair_id: str) -> RepairRecord:
    return await until(
        lambda: next(
            (record for record in engine.records() if record.order.id == repair_id and record.state.ended), None
        )
    )


async def until(look: Callable[[], RepairRecord | None]) -> RepairRecord:
    """Poll, for what is looked at belongs to other processes too."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if (found := look()) is not None:
                return found
            await asyncio.sleep(0.01)


async def until_true(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if look():
                return
            await asyncio.sleep(0.01)


def order(rung: Rung = Rung.RESET_GPU, repair_id: str = "r-1", **fields: object) -> RepairOrder:
    made = RepairOrder(id=repair_id, rung=rung, origin=Origin.CONTROL_PLANE, reason="a test", gpu_uuids=("GPU-0",))
    return replace(made, **fields)  # type: ignore[arg-type] # fields of an order, by name


def holder(stage: Stage, *, device: str = "nvidia0", deaf: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has a device open; a deaf one ignores SIGTERM."""
    deafness = "trap '' TERM; " if deaf else ""  # ignored signals stay ignored over exec
    script = f'{deafness}exec 3<"{stage.devices / device}"; echo ready; exec sleep 100000'
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def reap(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end and return its exit code."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while (code := process.poll()) is None:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return code
