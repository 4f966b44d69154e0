"""What the daemon finds on its host: GPUs, container engine, limits, address."""

import asyncio
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from node_agent.clock import Clock
from node_agent.convert import to_inventory
from node_agent.errors import SettingsInvalid
from node_agent.jobs.container import ContainerSettings, NoEngineError, find_engine
from node_agent.jobs.status import MemberState, MemberStatus
from node_agent.jobs.supervisor.cgroups import Cgroup
from node_agent.link.tls import Address
from node_agent.probe.inventory import read_inventory
from node_agent.probe.nvml import Nvml, NvmlUnavailable
from node_agent.probe.samples import TelemetryBatch
from node_agent.probe.telemetry import Telemetry
from node_agent.settings import Engine, Settings
from node_agent.virtual.install import install
from node_agent.virtual.load import GpuLoad, LoadTable
from node_agent.virtual.spec import BadSpec
from orquanta.v1 import node_pb2

log = structlog.get_logger()

_ENGINE_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 60.0
_PROBE_LIMITS = {"memory_bytes": 64 * 1024 * 1024, "cpu_milli": 100, "pids": 16}
_BUSY_PERCENT = 93  # what a virtual GPU shows while a job holds it
_BUSY_MEMORY_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the inventory says beside the hardware, and what stays while the daemon runs."""

    agent_version: str
    address: str
    container_engine: str
    enforceable_limits: tuple[str, ...]


class Hardware:
    """The host's GPUs: what they are and how they are. `sample` runs in the sampler's thread, the rest in the loop."""

    def __init__(self, nvml: Nvml, facts: HostFacts, *, load: LoadTable | None, clock: Clock) -> None:
        """`load` is what jobs do to virtual GPUs; None on a host with real ones. May block for the driver."""
        self._nvml = nvml
        self._facts = facts
        self._load = load
        self._clock = clock
        self._telemetry = Telemetry(nvml, clock)
        self._looked_at = clock.monotonic()
        self.inventory = self._read_inventory()
        """Replaced by a new one when the hardware has changed."""

    @property
    def virtual(self) -> bool:
        """Whether the GPUs are virtual."""
        return self._load is not None

    def sample(self) -> TelemetryBatch:
        """Return telemetry; once a minute, look whether GPUs have come, gone or changed."""
        if self._clock.monotonic() - self._looked_at >= _LOOK_AGAIN_SECONDS:
            self._looked_at = self._clock.monotonic()
            found = self._read_inventory()
            if found != self.inventory:
                self.inventory = found
        return self._telemetry.sample()

    def close(self) -> None:
        """Let go of the driver."""
        self._nvml.close()

    def follow_jobs(self, statuses: Iterable[MemberStatus]) -> None:
        """Let virtual GPUs show the jobs that hold them."""
        if self._load is None:
            return
        memory = {gpu.uuid: gpu.memory_bytes for gpu in self.inventory.gpus}
        self._load.replace(
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

    def _read_inventory(self) -> node_pb2.HostInventory:
        nvml_error = None
        try:
            self._nvml.open()
        except NvmlUnavailable as error:  # the driver may be loaded later
            nvml_error = error.error
        facts = self._facts
        return to_inventory(
            read_inventory(self._nvml, nvml_error=nvml_error),
            agent_version=facts.agent_version,
            address=facts.address,
            container_engine=facts.container_engine,
            enforceable_limits=facts.enforceable_limits,
        )


async def find_hardware(
    settings: Settings, *, node_id: str, link_server: Address, clock: Clock, agent_version: str, cgroup_parent: str
) -> Hardware:
    """Look at the host. A host without GPUs is a host for CPU jobs; raises SettingsInvalid for a bad setting."""
    load = _install_virtual(settings.virtual_gpus, node_id, clock) if settings.virtual_gpus else None
    facts = HostFacts(
        agent_version=agent_version,
        address=settings.address or await asyncio.to_thread(_address_towards, link_server),
        container_engine=await _engine_version(settings),
        enforceable_limits=await asyncio.to_thread(_enforceable_limits, cgroup_parent),
    )
    hardware = await asyncio.to_thread(lambda: Hardware(Nvml(), facts, load=load, clock=clock))
    if not hardware.inventory.gpus:
        log.warning("gpus.none_found", todo="CPU jobs only; install the NVIDIA driver, or try --virtual-gpus 8xH100")
    return hardware


def container_settings(settings: Settings) -> ContainerSettings:
    """Return how containers are to be run."""
    named = settings.container_engine in {Engine.PODMAN, Engine.DOCKER}
    return ContainerSettings(
        engine=settings.container_engine.value if named else None,
        engine_arguments=settings.engine_args,
        run_arguments=settings.engine_run_args,
        network=settings.container_network,
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
