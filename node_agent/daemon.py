"""The composition root: puts the daemon together, runs it, and takes it apart again."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NoReturn

import structlog

from node_agent.accounts import account_of_jobs, let_pass
from node_agent.clock import Clock, SystemClock
from node_agent.convert import to_report, to_telemetry
from node_agent.errors import AlreadyRunning, StateUnusable, only_agent_error
from node_agent.hardware import Hardware, container_settings, find_hardware
from node_agent.host import NodeHost
from node_agent.jobs.runner import JobRunner, StateDirectoryBusyError
from node_agent.jobs.settings import RunnerSettings
from node_agent.link.broker import Broker
from node_agent.link.epoch import ControlEpoch
from node_agent.link.identity import Identity, IdentityStore
from node_agent.link.link import LinkStatus, NodeLink
from node_agent.link.logs import LogShipper
from node_agent.link.tls import Address
from node_agent.local_status import LocalStatus
from node_agent.lock import StateLock
from node_agent.probe.sampler import Sampler
from node_agent.probe.samples import TelemetryBatch
from node_agent.settings import Engine, Settings, notify_socket
from node_agent.systemd import notify
from orquanta import __version__
from orquanta.v1 import job_pb2, node_link_pb2

log = structlog.get_logger()

_CGROUP_PARENT = "/orquanta"
_SHIPPED_DIRECTORY = "shipped"
_LAST_WORDS_SECONDS = 2.0  # for the ends of stopped jobs to reach the control plane


class _BootClock:
    """CLOCK_BOOTTIME, which jobs' supervisors read too."""

    def boottime(self) -> float:
        """Return seconds since boot, sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class Daemon:
    """All parts of one daemon."""

    def __init__(
        self, settings: Settings, identity: Identity, hardware: Hardware, runner: JobRunner, clock: Clock
    ) -> None:
        self._settings = settings
        self._hardware = hardware
        self._told_inventory = hardware.inventory
        self._runner = runner
        state_dir = settings.state_dir
        self._broker = Broker(identity, clock=clock)
        self._host = NodeHost(
            runner,
            self._broker,
            lambda: hardware.inventory,
            images=settings.container_engine is not Engine.NONE,
            clock=clock,
        )
        self._shipper = LogShipper(
            self._host, self._broker, state_dir / _SHIPPED_DIRECTORY, on_shipped=self._host.note_shipped
        )
        self._link = NodeLink(
            identities=IdentityStore(state_dir),
            identity=identity,
            host=self._host,
            epoch=ControlEpoch(state_dir / "control_epoch.json"),
            clock=clock,
            boot_clock=_BootClock(),
            on_status=self._note_link,
            on_identity=self._broker.use_identity,
        )
        self._sampler = Sampler(
            hardware.sample,
            self._deliver,
            clock=clock,
            interval_seconds=settings.telemetry_interval_seconds,
        )
        self._local_status = LocalStatus(state_dir, self._describe)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; jobs go on afterwards unless the settings say otherwise."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._link.run()),
                group.create_task(self._broker.run(self._use_nats)),
                group.create_task(self._host.let_go(self._shipper)),
                group.create_task(self._hardware.run()),
                group.create_task(self._sampler.run()),
                group.create_task(self._follow_jobs()),
                group.create_task(self._local_status.run()),
            ]
            notify(notify_socket(), "READY=1")
            await stop.wait()
            notify(notify_socket(), "STOPPING=1")
            if self._settings.stop_jobs:
                await self._host.leave()
                await asyncio.sleep(_LAST_WORDS_SECONDS if self._link.status.connected else 0)
            for task in tasks:
                task.cancel()

    async def _follow_jobs(self) -> None:
        """Hand every change of a member to whoever needs it."""
        async for status in self._runner.changes():
            if not status.acknowledged:
                self._link.member_changed(to_report(status))
            self._hardware.follow_jobs(self._runner.statuses().values())
            self._shipper.members_changed()
            self._local_status.changed()

    async def _use_nats(self) -> NoReturn:
        """Work while NATS is connected."""
        self._local_status.changed()
        try:
            await self._shipper.run()
        finally:
            self._local_status.changed()

    async def _deliver(self, batch: TelemetryBatch) -> None:
        if self._hardware.inventory is not self._told_inventory:
            self._told_inventory = self._hardware.inventory
            self._link.inventory_changed(self._told_inventory)
            self._local_status.changed()
        await self._broker.publish_telemetry(to_telemetry(batch).SerializeToString())

    def _note_link(self, status: LinkStatus) -> None:
        self._local_status.changed()
        notify(notify_socket(), f"STATUS=linked to {status.server}" if status.connected else f"STATUS={status.reason}")

    def _describe(self) -> dict[str, Any]:
        """Return what `orquanta-node status` shows. Any: it becomes JSON."""
        link = self._link.status
        return {
            "version": __version__,
            "link": {
                "connected": link.connected,
                "server": link.server,
                "reason": link.reason,
                "clock_ahead_seconds": round(link.clock_ahead_seconds, 3),
            },
            "nats_connected": self._broker.connected,
            "telemetry_sent": self._broker.counts.telemetry_sent,
            "telemetry_dropped": self._broker.counts.telemetry_dropped,
            "gpus": [{"uuid": gpu.uuid, "type": gpu.gpu_type} for gpu in self._hardware.inventory.gpus],
            "members": [_describe_member(to_report(status)) for status in self._runner.statuses().values()],
        }


def _describe_member(report: node_link_pb2.MemberReport) -> dict[str, Any]:
    """Return one member for the status file. Any: it becomes JSON."""
    return {
        "allocation_id": report.allocation_id,
        "job_id": report.job_id,
        "epoch": report.epoch,
        "rank": report.rank,
        "state": job_pb2.AllocationState.Name(report.state).removeprefix("ALLOCATION_STATE_").lower(),
        "exit_code": report.exit_code if report.HasField("exit_code") else None,
        "message": report.message,
        "gpu_uuids": list(report.gpu_uuids),
    }


async def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT; raises an AgentError if it cannot run, or must not any more."""
    clock = SystemClock()
    identity = IdentityStore(settings.state_dir).load()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await _run_parts(settings, identity, clock, stop)
    except BaseExceptionGroup as failures:
        error = only_agent_error(failures)
        if error is None:
            raise
        raise error from None
    log.info("daemon.stopped", node_id=identity.node_id)


async def _run_parts(settings: Settings, identity: Identity, clock: Clock, stop: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:
        run_as = account_of_jobs(settings.run_as)
        stack.enter_context(StateLock(settings.state_dir))
        if run_as is not None:
            let_pass(settings.state_dir)
        hardware = await find_hardware(
            settings,
            node_id=identity.node_id,
            link_server=Address.parse(identity.link_servers[0]),
            clock=clock,
            agent_version=__version__,
            cgroup_parent=_CGROUP_PARENT,
        )
        stack.callback(hardware.close)
        runner = await _enter_runner(stack, settings, clock, run_as=run_as, virtual_gpus=hardware.virtual)
        _clean_shipped(settings.state_dir / _SHIPPED_DIRECTORY, runner)
        log.info("daemon.started", node_id=identity.node_id, gpus=len(hardware.inventory.gpus), version=__version__)
        await Daemon(settings, identity, hardware, runner, clock).run(stop)


async def _enter_runner(
    stack: AsyncExitStack, settings: Settings, clock: Clock, *, run_as: tuple[int, int] | None, virtual_gpus: bool
) -> JobRunner:
    runner = JobRunner(
        RunnerSettings(
            state_dir=settings.state_dir,
            virtual_gpus=virtual_gpus,
            cgroup_parent=_CGROUP_PARENT,
            run_as=run_as,
            container=container_settings(settings),
        ),
        clock,
    )
    try:
        return await stack.enter_async_context(runner)
    except StateDirectoryBusyError as error:
        raise AlreadyRunning(f"{error}.") from error
    except OSError as error:
        raise StateUnusable(
            f"{settings.state_dir} cannot be used: {error}. Fix its owner or free some space, then start again."
        ) from error


def _clean_shipped(directory: Path, runner: JobRunner) -> None:
    """Remove the progress of members that are gone, or that are in the books with all their output."""
    if directory.is_dir():
        open_names = {str(key) for key, status in runner.statuses().items() if not status.acknowledged}
        for path in directory.iterdir():
            if path.name not in open_names:
                path.unlink(missing_ok=True)
