"""What a host has beside its GPUs: a container engine, limits that it can enforce, an address."""

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import structlog

from node_agent.executors.site import Site
from node_agent.jobs import gpu_share
from node_agent.jobs.container import ContainerSettings, NoEngineError, find_engine
from node_agent.jobs.supervisor.cgroups import Cgroup
from node_agent.link.tls import Address
from node_agent.settings import Engine, ExecutorKind, Settings

log = structlog.get_logger()

_ENGINE_SECONDS = 10.0
_PROBE_LIMITS = {"memory_bytes": 64 * 1024 * 1024, "cpu_milli": 100, "pids": 16}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the inventory says beside the hardware, and what stays while the daemon runs.

    `site` is the engine that runs jobs in place of this host, if one does.
    """

    agent_version: str
    address: str
    container_engine: str
    enforceable_limits: tuple[str, ...]
    site: Site | None = None


async def find_facts(
    settings: Settings, link_server: Address, *, node_id: str, agent_version: str, cgroup_parent: str
) -> HostFacts:
    """Look at the host, and at the engine of the site if it has one. Raises SettingsInvalid."""
    return HostFacts(
        agent_version=agent_version,
        address=settings.address or await asyncio.to_thread(_address_towards, link_server),
        container_engine=await _engine_version(settings),
        enforceable_limits=(
            *await asyncio.to_thread(_enforceable_limits, cgroup_parent),
            *((gpu_share.LIMIT,) if mps_directory(settings) else ()),
        ),
        site=await _site(settings, node_id),
    )


async def _site(settings: Settings, node_id: str) -> Site | None:
    if settings.executor is ExecutorKind.HOST:
        return None
    # Only hosts that hand their jobs on pay for loading what that needs.
    from node_agent.executors.choice import choose  # noqa: PLC0415

    return await asyncio.to_thread(choose, settings, node_id)


def mps_directory(settings: Settings) -> Path | None:
    """Return where MPS listens, None if it does not run or the GPUs are virtual."""
    directory = Path(settings.mps_pipe_directory)
    if settings.virtual_gpus or not settings.mps_pipe_directory or not gpu_share.mps_runs(directory):
        return None
    return directory


def container_settings(settings: Settings) -> ContainerSettings:
    """Return how containers are to be run."""
    named = settings.container_engine in {Engine.PODMAN, Engine.DOCKER}
    return ContainerSettings(
        engine=settings.container_engine.value if named else None,
        engine_arguments=settings.engine_args,
        run_arguments=settings.engine_run_args,
        network=settings.container_network,
    )


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
