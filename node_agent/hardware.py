"""What the daemon finds on its host at the start: GPUs, container engine, limits, address."""

import asyncio
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from orquanta.v1 import node_pb2

from node_agent.clock import Clock
from node_agent.convert import to_inventory
from node_agent.errors import SettingsInvalid
from node_agent.jobs.container import ContainerSettings, NoEngineError, find_engine
from node_agent.jobs.status import MemberState, MemberStatus
from node_agent.jobs.supervisor.cgroups import Cgroup
from node_agent.link.tls import Address
from node_agent.probe.inventory import read_inventory
from node_agent.probe.nvml import Nvml, NvmlUnavailable
from node_agent.probe.telemetry import Telemetry
from node_agent.settings import Engine, Settings
from node_agent.virtual.install import install
from node_agent.virtual.load import GpuLoad, LoadTable
from node_agent.virtual.spec import BadSpec

log = structlog.get_logger()

_ENGINE_SECONDS = 10.0
_PROBE_LIMITS = {"memory_bytes": 64 * 1024 * 1024, "cpu_milli": 100, "pids": 16}
_BUSY_PERCENT = 93  # what a virtual GPU shows while a job holds it
_BUSY_MEMORY_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Hardware:
    """The host as it was found."""

    nvml: Nvml
    telemetry: Telemetry
    inventory: node_pb2.HostInventory
    load: LoadTable | None
    """What jobs do to virtual GPUs; None on a host with real ones."""

    def follow_jobs(self, statuses: Iterable[MemberStatus]) -> None:
        """Let virtual GPUs show the jobs that hold them."""
        if self.load is None:
            return
        memory = {gpu.uuid: gpu.memory_bytes for gpu in self.inventory.gpus}
        self.load.replace(
            {
                uuid: GpuLoad(
                    _BUSY_PERCENT,
                    int(memory.get(uuid, 0) * _BUSY_MEMORY_SHARE),
                    () if status.pid is None else (status.pid,),
                )
                for status in statuses
                if status.state is MemberState.RUNNING
                for uuid in status.gpu_uuids
            }
        )


async def find_hardware(
    settings: Settings, *, node_id: str, link_server: Address, clock: Clock, agent_version: str, cgroup_parent: str
) -> Hardware:
    """Look at the host. A host without GPUs is a host for CPU jobs; raises SettingsInvalid for a bad setting."""
    load = _install_virtual(settings.virtual_gpus, node_id, clock) if settings.virtual_gpus else None
    nvml, nvml_error = Nvml(), None
    try:
        await asyncio.to_thread(nvml.open)
    except NvmlUnavailable as error:
        nvml_error = error.error
        log.warning("gpus.unavailable", reason=nvml_error)
    inventory = await asyncio.to_thread(lambda: read_inventory(nvml, nvml_error=nvml_error))
    return Hardware(
        nvml=nvml,
        telemetry=Telemetry(nvml, clock),
        inventory=to_inventory(
            inventory,
            agent_version=agent_version,
            address=settings.address or await asyncio.to_thread(_address_towards, link_server),
            container_engine=await _engine_version(settings),
            enforceable_limits=await asyncio.to_thread(_enforceable_limits, cgroup_parent),
        ),
        load=load,
    )


def container_settings(settings: Settings) -> ContainerSettings:
    """Return how containers are to be run."""
    named = settings.container_engine in {Engine.PODMAN, Engine.DOCKER}
    return ContainerSettings(
        engine=settings.container_engine.value if named else None, engine_arguments=settings.engine_args
    )


def _install_virtual(spec: str, node_id: str, clock: Clock) -> LoadTable:
    load = LoadTable()
    try:
        install(spec, host_identity=node_id, load=load, clock=clock)
    except BadSpec as error:
        raise SettingsInvalid(f"virtual_gpus is {spec!r}: {error}.") from error
    return load


def _address_towards(server: Address) -> str:
    """Return the address of this host on the route to `server`; no packet is sent."""
    try:
        family, _, _, _, target = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


async def _engine_version(settings: Settings) -> str:
    """Return the container engine and its version, for example "podman 5.4.2"; empty if there is none."""
    if settings.container_engine is Engine.NONE:
        return ""
    chosen = container_settings(settings)
    try:
        path = find_engine(chosen)
    except NoEngineError:
        return ""
    name = Path(path).name
    try:
        child = await asyncio.create_subprocess_exec(
            path,
            *chosen.engine_arguments,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(chosen.environment),
        )
    except OSError as error:
        log.warning("container_engine.unusable", engine=path, error=str(error))
        return ""
    try:
        async with asyncio.timeout(_ENGINE_SECONDS):
            output, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        log.warning("container_engine.unusable", engine=path, error=f"no answer within {_ENGINE_SECONDS:.0f} s")
        return ""
    words = output.decode(errors="replace").replace(",", " ").split()
    version = next((word for word in words if word[:1].isdigit()), "")
    return f"{name} {version}".strip()


def _enforceable_limits(parent: str) -> tuple[str, ...]:
    """Return the limits that this host really holds jobs to, found by trying."""
    group = Cgroup.create(parent, f"probe-{os.getpid()}", dict(_PROBE_LIMITS))
    try:
        return tuple(group.enforced)
    finally:
        group.remove()
