"""What the daemon finds on its host: GPUs, container engine, limits, address."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, NoReturn

import structlog

from node_agent.clock import Clock
from node_agent.convert import to_inventory
from node_agent.errors import SettingsInvalid
from node_agent.host_facts import HostFacts, find_facts
from node_agent.jobs.executor import Executor
from node_agent.jobs.status import MemberState, MemberStatus
from node_agent.link.tls import Address
from node_agent.probe.child_process import RequestFailed, VirtualGpuSettings
from node_agent.probe.client import ProbeClient
from node_agent.probe.errors import BadVirtualGpus, ProbeAway
from node_agent.probe.host import HostSampler
from node_agent.probe.inventory import HostInventory, NvmlInventory, host_inventory
from node_agent.probe.known import KnownGpus
from node_agent.probe.observations import ProbeObservations
from node_agent.probe.samples import NvmlReading, TelemetryBatch
from node_agent.probe.stats import ProbeStats
from node_agent.settings import Settings
from node_agent.virtual.fault import BadFault, VirtualFault, VirtualRepair
from orquanta.v1 import node_pb2

log = structlog.get_logger()

_LOOK_AGAIN_SECONDS = 60.0
_BUSY_PERCENT = 93  # what a virtual GPU shows while a job holds it
_BUSY_MEMORY_SHARE = 0.6
_VIRTUAL_FAULTS = "virtual_gpus.json"
_NOTHING_FOUND: Final = NvmlInventory(None, None, None, "PROBE_STARTING", virtual=False, gpus=())


class Hardware:
    """The host's GPUs: what they are and how they are. All calls of the driver are made in a process of their own."""

    def __init__(
        self, client: ProbeClient, facts: HostFacts, *, virtual: bool, clock: Clock, observations: ProbeObservations
    ) -> None:
        """`client` has been started and puts what it observes into `observations`; see `find_hardware`."""
        self.observations = observations
        """What the probe observes beside samples: stalls, and XIDs that NVML tells of."""
        self._client = client
        self._facts = facts
        self._virtual = virtual
        self._clock = clock
        self._host = HostSampler()
        self._known = KnownGpus()
        self._sequence = 0
        self._looked_at = clock.monotonic()
        self._taken_up = client.inventory or _NOTHING_FOUND
        self.found: HostInventory = host_inventory(self._known.inventory(self._taken_up))
        """Everything that is known of the host, GPUs that were lost too; replaced whenever the probe has looked."""
        self.inventory = self._for_the_wire()
        """The same for the wire; replaced by another when it has changed."""
        self._mig_parents = _mig_parents(self.inventory)

    @property
    def executor(self) -> Executor | None:
        """What runs jobs in place of this host, if anything does."""
        return None if self._facts.site is None else self._facts.site.executor

    @property
    def virtual(self) -> bool:
        """Whether the GPUs are virtual."""
        return self._virtual

    @property
    def stats(self) -> ProbeStats:
        """What has happened to the probe so far."""
        return self._client.stats

    @property
    def process_ids(self) -> frozenset[int]:
        """The processes of the probe, which hold the GPUs open."""
        return self._client.process_ids

    async def run(self) -> NoReturn:
        """Keep the probe at work until cancelled."""
        await self._client.run()

    async def sample(self) -> TelemetryBatch:
        """Return telemetry; once a minute, look whether GPUs have come, gone or changed.

        Never fails: while the probe is away, the GPUs are in the batch with the reason as their error.
        """
        sampled_at, began = self._clock.now(), self._clock.monotonic()
        reading = await self.read()
        if began - self._looked_at >= _LOOK_AGAIN_SECONDS:
            self._looked_at = began
            with suppress(ProbeAway):
                await self._client.look()
        self._take_up(self._client.inventory)
        self._sequence += 1
        return TelemetryBatch(
            sequence=self._sequence,
            sampled_at=sampled_at,
            duration_seconds=self._clock.monotonic() - began,
            nvml_error=reading.nvml_error,
            host=self._host.sample(),
            gpus=reading.gpus,
        )

    async def read(self, *, fresh: bool = False) -> NvmlReading:
        """Read all GPUs now; with `fresh`, the values too that are else read every ten seconds. Never fails."""
        try:
            reading = self._known.reading(await self._client.read(fresh=fresh))
        except ProbeAway as error:
            return self._known.away(error.error)
        if reading.nvml_error and not self._client.held and self.found.nvml_error:
            return replace(reading, nvml_error=self.found.nvml_error)  # it says why NVML is not open
        return reading

    async def release_gpus(self) -> None:
        """Let go of all GPUs, until `reacquire`: a reset fails while anybody has them open.

        Samples in between say `UNINITIALIZED`. Raises GpusHeld if the driver does not let a killed probe end.
        """
        await self._client.release()

    async def reacquire(self) -> None:
        """Open the GPUs again, and look what they are. Harmless if they are open."""
        await self._client.reacquire()
        self._take_up(self._client.inventory)

    async def inject(self, fault: VirtualFault) -> None:
        """Put a fault into a virtual GPU.

        Raises:
            BadFault: it cannot be put in, or the host has real GPUs.
            ProbeAway: not now.
        """
        self._check_virtual()
        fault.check()
        fields = (fault.kind.value, fault.gpu_uuid, fault.value, fault.times, fault.link, fault.call, fault.cured_by)
        try:
            await self._client.control("inject", fields)
        except RequestFailed as error:
            raise BadFault(str(error)) from error

    async def reset_virtual(
        self, gpu_uuids: Collection[str] = (), repair: VirtualRepair = VirtualRepair.GPU_RESET
    ) -> str:
        """Do to virtual GPUs, or to all of them, what a repair does to real ones; say for a person what it cured.

        A driver reload and a reboot always do it to all. Raises BadFault for real GPUs, ProbeAway if not now.
        """
        self._check_virtual()
        return str(await self._client.control("repair", int(repair), list(gpu_uuids)))

    async def clear_virtual(self, gpu_uuids: Collection[str] = ()) -> None:
        """Take all faults out of virtual GPUs, or of all of them. Raises BadFault for real GPUs, ProbeAway."""
        self._check_virtual()
        await self._client.control("clear", list(gpu_uuids))

    def close(self) -> None:
        """End the probe."""
        self._client.close()

    def follow_jobs(self, statuses: Iterable[MemberStatus]) -> None:
        """Let virtual GPUs show the jobs that hold them."""
        if not self._virtual:
            return
        memory = {gpu.uuid: gpu.memory_bytes for gpu in self.inventory.gpus}
        self._client.put_load(
            [
                (
                    uuid,
                    _BUSY_PERCENT,
                    int(memory.get(uuid, 0) * _BUSY_MEMORY_SHARE),
                    () if status.pid is None else (status.pid,),
                )
                for status in statuses
                if status.state is MemberState.RUNNING
                for uuid in map(self.gpu_of, status.gpu_uuids)
            ]
        )

    def gpu_of(self, uuid: str) -> str:
        """Return the GPU that a MIG device is a part of; any other UUID is returned as it is."""
        return self._mig_parents.get(uuid, uuid)

    def _check_virtual(self) -> None:
        if not self._virtual:
            raise BadFault("the GPUs of this host are real: start its daemon with --virtual-gpus 8xH100 for game days")

    def _take_up(self, found: NvmlInventory | None) -> None:
        """Make what the probe found the inventory, if it is another than before."""
        if found is None or found is self._taken_up:
            return
        self._taken_up = found
        self.found = host_inventory(self._known.inventory(found))
        inventory = self._for_the_wire()
        if inventory != self.inventory:
            self.inventory = inventory
            self._mig_parents = _mig_parents(inventory)

    def _for_the_wire(self) -> node_pb2.HostInventory:
        facts = self._facts
        inventory = to_inventory(
            self.found,
            agent_version=facts.agent_version,
            address=facts.address,
            container_engine=facts.container_engine,
            enforceable_limits=facts.enforceable_limits,
        )
        if facts.site is not None:
            # Jobs go to the site's GPUs; this host's own, if it has any, are watched and take none.
            del inventory.gpus[:]
            inventory.gpus.extend(facts.site.gpus)
            inventory.executor = facts.site.name
        return inventory


def _mig_parents(inventory: node_pb2.HostInventory) -> Mapping[str, str]:
    return {part.uuid: gpu.uuid for gpu in inventory.gpus for part in gpu.mig_devices}


async def find_hardware(
    settings: Settings, *, node_id: str, link_server: Address, clock: Clock, agent_version: str, cgroup_parent: str
) -> Hardware:
    """Look at the host. A host without GPUs is a host for CPU jobs; raises SettingsInvalid for a bad setting."""
    facts = await find_facts(
        settings, link_server, node_id=node_id, agent_version=agent_version, cgroup_parent=cgroup_parent
    )
    observations = ProbeObservations()
    client = ProbeClient(_virtual_gpus(settings, node_id), observe=observations.put, clock=clock)
    try:
        await client.start()
    except BadVirtualGpus as error:
        client.close()
        raise SettingsInvalid(f"virtual_gpus is {settings.virtual_gpus!r}: {error}.") from error
    except BaseException:
        client.close()
        raise
    hardware = Hardware(client, facts, virtual=bool(settings.virtual_gpus), clock=clock, observations=observations)
    if not hardware.inventory.gpus:
        log.warning("gpus.none_found", todo="CPU jobs only; install the NVIDIA driver, or try --virtual-gpus 8xH100")
    return hardware


def _virtual_gpus(settings: Settings, node_id: str) -> VirtualGpuSettings | None:
    if not settings.virtual_gpus:
        return None
    return VirtualGpuSettings(settings.virtual_gpus, node_id, settings.state_dir / _VIRTUAL_FAULTS)
