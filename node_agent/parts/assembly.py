"""Makes the daemon's parts and joins them to one another."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from node_agent.beat import BEGAN_SECONDS
from node_agent.clock import Clock
from node_agent.exporter.exporter import Exporter
from node_agent.hardware import Hardware
from node_agent.host import NodeHost
from node_agent.jobs.proc import boot_id
from node_agent.jobs.runner import JobRunner
from node_agent.link.broker import Broker
from node_agent.link.epoch import ControlEpoch
from node_agent.link.host import BootClock
from node_agent.link.identity import Identity, IdentityStore
from node_agent.link.link import LinkStatus, NodeLink
from node_agent.link.logs import LogShipper
from node_agent.local.server import LocalServer
from node_agent.parts.alone import Watch
from node_agent.parts.desk import HealthDesk, open_engine
from node_agent.parts.hardware import BootIds, GpuControl, gpu_identities
from node_agent.parts.inject import Injector
from node_agent.parts.jobs import HostJobs
from node_agent.parts.kernel import KernelWatch
from node_agent.parts.local import LocalDaemon
from node_agent.parts.orders import Orders
from node_agent.parts.repairs import RepairDesk, Repairman
from node_agent.parts.status import Status
from node_agent.parts.telemetry import TelemetryFlow
from node_agent.policy.keeper import PolicyKeeper
from node_agent.probe.custom.checks import CustomChecks
from node_agent.probe.dcgm.client import DcgmClient
from node_agent.probe.host_checks.checks import HostChecks
from node_agent.probe.host_checks.settings import HostCheckSettings
from node_agent.probe.sampler import Sampler
from node_agent.probe.samples import TelemetryBatch
from node_agent.repair.engine import RepairEngine
from node_agent.repair.journal import RepairJournal
from node_agent.repair.parts import Limits
from node_agent.repair.toolbox import Toolbox
from node_agent.settings import Engine, Settings, notify_socket
from node_agent.spool.spool import Spool
from node_agent.systemd import notify

_NVSWITCHES: Final = Path("/proc/driver/nvidia-nvswitch/devices")

Task = Coroutine[Any, Any, object]  # Any: what a coroutine yields to the loop is the loop's affair


@dataclass(frozen=True, slots=True)
class Opened:
    """What has to be opened, and closed again: the composition root does."""

    settings: Settings
    identity: Identity
    hardware: Hardware
    runner: JobRunner
    spool: Spool
    journal: RepairJournal
    policy: PolicyKeeper
    clock: Clock
    boot_clock: BootClock
    shipped_dir: Path


class Assembly:
    """The parts, joined."""

    def __init__(self, opened: Opened) -> None:
        settings, clock, spool = opened.settings, opened.clock, opened.spool
        self._opened = opened
        self.broker = Broker(opened.identity, clock=clock)
        self._boots = BootIds(spool, boot_id())
        self.desk = HealthDesk(open_engine(spool, settings.health, clock), spool, clock)
        self.jobs = HostJobs(opened.runner, on_changed=self._take_jobs, gpu_of=opened.hardware.gpu_of)
        self.repair_desk = RepairDesk(
            self.desk,
            spool,
            clock,
            boot_id=lambda: self._boots.now,
            on_progress=lambda report: self.link.repair_changed(report),  # noqa: PLW0108 - the link is made later
        )
        self.repairs = RepairEngine(
            journal=opened.journal,
            toolbox=Toolbox(Path(settings.tools_dir) if settings.tools_dir else None),
            hardware=GpuControl(opened.hardware, self._boots),
            jobs=self.jobs,
            health=self.desk,
            clock=clock,
            boot_id=self._boots.now,
            node_id=opened.identity.node_id,
            on_record=self.repair_desk.note,
            limits=_limits(settings),
        )
        self.repairman = Repairman(self.repairs, self.repair_desk, settings.repairs, clock, self._boots.now)
        orders = Orders(
            self.desk,
            self.repairman,
            opened.policy,
            clock_ahead_seconds=lambda: self.link.status.clock_ahead_seconds,
        )
        self.host = NodeHost(
            opened.runner,
            self.broker,
            lambda: opened.hardware.inventory,
            orders,
            images=settings.container_engine is not Engine.NONE,
            clock=clock,
        )
        self.shipper = LogShipper(self.host, self.broker, opened.shipped_dir, on_shipped=self.host.note_shipped)
        self.link = NodeLink(
            identities=IdentityStore(settings.state_dir),
            identity=opened.identity,
            host=self.host,
            records=spool,
            epoch=ControlEpoch(settings.state_dir / "control_epoch.json"),
            clock=clock,
            boot_clock=opened.boot_clock,
            on_status=self._note_link,
            on_identity=self.broker.use_identity,
        )
        self.watch = Watch(
            desk=self.desk,
            policy=opened.policy,
            repairs=self.repairs,
            jobs=self.jobs,
            mode=settings.repairs,
            clock=clock,
        )
        self.kernel = KernelWatch(settings.kernel_log, self.desk, clock, any_writer=settings.allow_kmsg_injection)
        self.telemetry = TelemetryFlow(
            self.desk,
            self.broker,
            spool,
            clock,
            wanted=lambda: self.broker.configured or not self.link.status.connected,
        )
        self._dcgm = DcgmClient(settings.dcgm_url, clock) if settings.dcgm_url else None
        self._checks = HostChecks(_what_to_look_at(settings), clock)
        self.status = Status(
            hardware=opened.hardware,
            runner=opened.runner,
            broker=self.broker,
            link=self.link,
            spool=spool,
            desk=self.desk,
            kernel=self.kernel,
            telemetry=self.telemetry,
            dcgm=self._dcgm,
            policy=opened.policy,
            jobs=self.jobs,
            watch=self.watch,
            repairs=self.repairman,
            repair_desk=self.repair_desk,
            clock=clock,
        )

    def sampler(self, deliver: Callable[[TelemetryBatch], Awaitable[None]]) -> Sampler:
        """Return the loop that samples the GPUs and hands on what it reads."""
        return Sampler(
            self._opened.hardware.sample,
            deliver,
            clock=self._opened.clock,
            interval_seconds=self._opened.settings.telemetry_interval_seconds,
            in_step_with=BEGAN_SECONDS,
        )

    async def begin(self) -> None:
        """Take up what the last daemon left, before anything is observed."""
        self.repair_desk.take_up(self.repairs.records())
        await self.desk.tell(self.desk.engine.note_boot(self._boots.now, self._opened.clock.now()))
        await self.take_hardware()

    async def take_hardware(self) -> None:
        """Let the health engine know which GPUs there are."""
        self.kernel.use_driver_version(self._opened.hardware.found.driver_version or "")
        await self.desk.tell(self.desk.engine.set_gpus(gpu_identities(self._opened.hardware)))

    def tasks(self) -> dict[str, Task]:
        """Return what runs until it is cancelled, by name."""
        opened, settings = self._opened, self._opened.settings
        facade = LocalDaemon(
            describe=self.status.describe,
            desk=self.desk,
            spool=opened.spool,
            repairs=self.repairman,
            injector=Injector(opened.hardware, settings),
        )
        found: dict[str, Task] = {
            "link": self.link.run(),
            "logs": self.host.let_go(self.shipper),
            "health": self.desk.run(),
            "kernel log": self.kernel.run(),
            "host checks": self._checks.run(self.desk.observe),
            "jobs": self.jobs.run(),
            "repairs": self.repairs.run(),
            "repair records": self.repair_desk.run(),
            "policy": opened.policy.run(),
            "alone": self.watch.run(),
            "socket": LocalServer(settings.socket, facade).run(),
        }
        if settings.checks:
            found["custom checks"] = CustomChecks(settings.checks, opened.clock).run(self.desk.observe)
        if self._dcgm is not None:
            found["dcgm"] = self._dcgm.run(self.telemetry.take_dcgm)
        if settings.metrics_address:
            found["metrics"] = Exporter(settings.metrics_address, self.status.collect).run()
        return found

    def _take_jobs(self) -> None:
        self.desk.engine.set_jobs(self.jobs.holders())

    def _note_link(self, status: LinkStatus) -> None:
        self.watch.note_link(connected=status.connected)
        if status.connected:
            self._checks.note_link_drift(status.clock_ahead_seconds)
        notify(notify_socket(), f"STATUS=linked to {status.server}" if status.connected else f"STATUS={status.reason}")


def _limits(settings: Settings) -> Limits:
    limits = Limits(canary_seconds=settings.canary_seconds)
    return replace(limits, device_prefix=f"{settings.tools_dir}/dev/nvidia") if settings.tools_dir else limits


def _what_to_look_at(settings: Settings) -> HostCheckSettings:
    return HostCheckSettings(
        state_dir=settings.state_dir,
        mount_points=settings.mount_points,
        services=settings.services,
        fabric_manager_needed=not settings.virtual_gpus and _NVSWITCHES.is_dir(),
        expected_ports=settings.expected_ports,
    )
