"""The composition root: puts the daemon together, runs it, and takes it apart again."""

import asyncio
import gc
import signal
import sqlite3
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn

import structlog

from node_agent.accounts import account_of_jobs, let_pass
from node_agent.clock import Clock, SystemClock
from node_agent.convert import to_report
from node_agent.errors import AlreadyRunning, StateUnusable, only_agent_error
from node_agent.hardware import Hardware, find_hardware
from node_agent.host_facts import container_settings, mps_directory
from node_agent.jobs.proc import boot_id
from node_agent.jobs.runner import JobRunner, StateDirectoryBusyError
from node_agent.jobs.settings import RunnerSettings
from node_agent.link.identity import Identity, IdentityStore
from node_agent.link.tls import Address
from node_agent.lock import StateLock
from node_agent.memory import give_back_code
from node_agent.parts.assembly import Assembly, Opened
from node_agent.parts.watchdog import run_watchdog
from node_agent.policy.keeper import PolicyKeeper
from node_agent.probe.samples import TelemetryBatch
from node_agent.repair.errors import JournalUnusable
from node_agent.repair.journal import RepairJournal
from node_agent.settings import Settings, notify_socket, watchdog_seconds
from node_agent.spool.spool import Spool
from node_agent.systemd import notify
from orquanta import __version__

log = structlog.get_logger()

_CGROUP_PARENT = "/orquanta"
_SHIPPED_DIRECTORY = "shipped"
_SPOOL_DIRECTORY = "spool"
_REPAIRS_DIRECTORY = "repairs"
_POLICY_FILE = "policy.json"
_LAST_WORDS_SECONDS = 2.0  # for the ends of stopped jobs to reach the control plane
_STARTED_SECONDS = 10.0  # after which code that only the start needed may go
_GIVE_BACK_SECONDS = 60.0  # then what ran now and then may go; takes some milliseconds


class _BootClock:
    """CLOCK_BOOTTIME, which jobs' supervisors read too."""

    def boottime(self) -> float:
        """Return seconds since boot, sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class Daemon:
    """All parts of one daemon, at work."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._settings = opened.settings
        self._hardware = opened.hardware
        self._told_inventory = opened.hardware.inventory
        self._parts = Assembly(opened)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; jobs go on afterwards unless the settings say otherwise."""
        async with asyncio.TaskGroup() as foundation:
            # What the rest needs until its own end: a repair that is cut off still records what it took back.
            lasting = [
                foundation.create_task(self._opened.spool.run(), name="spool"),
                foundation.create_task(self._hardware.run(), name="probe"),
            ]
            await self._work(stop)
            for task in lasting:
                task.cancel()

    async def _work(self, stop: asyncio.Event) -> None:
        parts = self._parts
        await parts.begin()
        async with asyncio.TaskGroup() as group:
            work = {
                **parts.tasks(),
                "nats": parts.broker.run(self._use_nats),
                "samples": parts.sampler(self._deliver).run(),
                "observations": self._follow_probe(),
                "members": self._follow_jobs(),
                "watchdog": run_watchdog(watchdog_seconds(), lambda state: notify(notify_socket(), state)),
                "memory": _give_back(),
            }
            tasks = [group.create_task(one, name=name) for name, one in work.items()]
            notify(notify_socket(), "READY=1")
            await stop.wait()
            notify(notify_socket(), "STOPPING=1")
            if self._settings.stop_jobs:
                await parts.host.leave()
                await asyncio.sleep(_LAST_WORDS_SECONDS if parts.link.status.connected else 0)
            for task in tasks:
                task.cancel()
        parts.desk.save()

    async def _follow_jobs(self) -> None:
        """Hand every change of a member to whoever needs it."""
        runner, parts = self._opened.runner, self._parts
        async for status in runner.changes():
            if not status.acknowledged:
                parts.link.member_changed(to_report(status))
            self._hardware.follow_jobs(runner.statuses().values())
            parts.shipper.members_changed()
            parts.jobs.changed()

    async def _use_nats(self) -> NoReturn:
        """Work while NATS is connected."""
        await self._parts.shipper.run()

    async def _follow_probe(self) -> NoReturn:
        """Judge what the probe observes beside samples."""
        while True:
            await self._parts.desk.observe((await self._hardware.observations.take(),))

    async def _deliver(self, batch: TelemetryBatch) -> None:
        if self._hardware.inventory is not self._told_inventory:
            self._told_inventory = self._hardware.inventory
            self._parts.link.inventory_changed(self._told_inventory)
            await self._parts.take_hardware()
        await self._parts.telemetry.deliver(batch)


async def _give_back() -> NoReturn:
    """Let go of memory that only the start needed, and from time to time of what was needed for a moment."""
    await asyncio.sleep(_STARTED_SECONDS)
    gc.collect()
    gc.freeze()  # what is there now stays: no need to look through it again and again
    while True:
        await asyncio.to_thread(give_back_code)
        await asyncio.sleep(_GIVE_BACK_SECONDS)


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
        spool, journal = await _open_records(stack, settings, clock)
        policy = PolicyKeeper(
            settings.state_dir / _POLICY_FILE,
            node_id=identity.node_id,
            ca_file=lambda: IdentityStore(settings.state_dir).load().ca_file,
            clock=clock,
            boot_clock=_BootClock(),
            boot_id=boot_id(),
        )
        await policy.load()
        runner = await _enter_runner(stack, settings, clock, run_as=run_as, hardware=hardware)
        _clean_shipped(settings.state_dir / _SHIPPED_DIRECTORY, runner)
        opened = Opened(
            settings=settings,
            identity=identity,
            hardware=hardware,
            runner=runner,
            spool=spool,
            journal=journal,
            policy=policy,
            clock=clock,
            boot_clock=_BootClock(),
            shipped_dir=settings.state_dir / _SHIPPED_DIRECTORY,
        )
        log.info("daemon.started", node_id=identity.node_id, gpus=len(hardware.inventory.gpus), version=__version__)
        await Daemon(opened).run(stop)


async def _open_records(stack: AsyncExitStack, settings: Settings, clock: Clock) -> tuple[Spool, RepairJournal]:
    try:
        spool = await stack.enter_async_context(Spool(settings.state_dir / _SPOOL_DIRECTORY, clock))
        journal = await asyncio.to_thread(RepairJournal, settings.state_dir / _REPAIRS_DIRECTORY)
    except (OSError, sqlite3.Error, JournalUnusable) as error:
        raise StateUnusable(
            f"{settings.state_dir} cannot be used: {error}. Fix its owner or free some space, then start again."
        ) from error
    return spool, journal


async def _enter_runner(
    stack: AsyncExitStack, settings: Settings, clock: Clock, *, run_as: tuple[int, int] | None, hardware: Hardware
) -> JobRunner:
    runner = JobRunner(
        RunnerSettings(
            state_dir=settings.state_dir,
            virtual_gpus=hardware.virtual,
            cgroup_parent=_CGROUP_PARENT,
            run_as=run_as,
            container=container_settings(settings),
            mps_pipe_directory=mps_directory(settings),
            executor=hardware.executor,
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
