"""What a virtual host is made of and what its sensors show: utilisation, memory, heat and power that hang together."""

import math
import random
import uuid
from collections.abc import Collection
from typing import Final

from orquanta.v1 import event_pb2, node_pb2
from simulator.draws import dice_of
from simulator.models import GpuModel
from simulator.stamps import stamp

_WARMING: Final = 0.05
"""Share of the way to the temperature of its load that a GPU goes in a second."""
_STEP_SECONDS: Final = 7.0
_PCI_FIRST: Final = 0x19
_CPUS_PER_GPU: Final = 24
_HOST_BYTES_PER_GPU: Final = 256 << 30


class Body:
    """The hardware of one host: its inventory, and one sample of all its GPUs after the other."""

    __slots__ = ("_batch", "_cpus", "_heat", "_model", "_phase", "name", "uuids")

    def __init__(self, name: str, node_id: str, model: GpuModel, gpus: int) -> None:
        dice = dice_of(node_id)
        self.name = name
        self.uuids = tuple(f"GPU-{uuid.UUID(int=dice.getrandbits(128), version=4)}" for _ in range(gpus))
        self._model = model
        self._cpus = max(8, _CPUS_PER_GPU * gpus)
        self._phase = dice.uniform(0.0, math.tau)
        self._heat = [float(model.idle_celsius + dice.randrange(4)) for _ in range(gpus)]
        self._batch: event_pb2.TelemetryBatch | None = None
        """Some kilobytes: made for the first sample."""

    def inventory(self, boot_id: str, index: int) -> node_pb2.HostInventory:
        """Return what the host is made of; `index` is its place in the simulated fleet."""
        model = self._model
        return node_pb2.HostInventory(
            hostname=self.name,
            kernel="6.8.0-sim",
            operating_system="simulated",
            cpu_model="simulated",
            cpu_count=self._cpus,
            memory_bytes=_HOST_BYTES_PER_GPU * max(1, len(self.uuids)),
            driver_version="570.124.06",
            cuda_version="12.8",
            virtual_gpus=True,
            boot_id=boot_id,
            agent_version="sim",
            container_engine="podman (simulated)",
            enforceable_limits=("cpu", "memory", "pids"),
            address=f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}",
            gpus=[
                node_pb2.GpuInventory(
                    index=place,
                    uuid=gpu_uuid,
                    gpu_type=model.gpu_type,
                    product_name=model.product_name,
                    memory_bytes=model.memory_bytes,
                    pci_bus_id=self.pci_bus_id(place),
                    nvlink_peer_uuids=[peer for peer in self.uuids if peer != gpu_uuid] if model.nvlinks else (),
                    compute_capability=model.compute_capability,
                    power_limit_watts=model.limit_watts,
                )
                for place, gpu_uuid in enumerate(self.uuids)
            ],
        )

    def pci_bus_id(self, place: int) -> str:
        """Return where a GPU sits."""
        return f"00000000:{_PCI_FIRST + place * 0x10:02X}:00.0"

    def sample(self, now: float, busy: Collection[str], lost: Collection[str], dice: random.Random) -> bytes:
        """Return the host's telemetry of one second, serialized: GPUs of one job dip together between its steps."""
        model, batch = self._model, self._batch
        if batch is None:
            batch = self._batch = self._cold()
        batch.sampled_at.CopyFrom(stamp(now))
        # All GPUs of a host wait for data at the same time, as those of one job do.
        wave = 0.5 + 0.5 * math.sin(now / _STEP_SECONDS + self._phase)
        load = 0.0
        for place, sample in enumerate(batch.gpus):
            if lost and sample.uuid in lost:
                sample.error = "GPU_IS_LOST"
                sample.ClearField("power_watts")
                continue
            if sample.error:
                sample.ClearField("error")
            share = (0.82 + 0.16 * wave + 0.02 * dice.random()) if busy and sample.uuid in busy else 0.0
            load += share
            target = model.idle_celsius + share * (model.full_celsius - model.idle_celsius)
            self._heat[place] += (target - self._heat[place]) * _WARMING
            heat = int(self._heat[place])
            sample.utilization_percent = int(share * 100)
            sample.memory_used_bytes = int(model.memory_bytes * (0.87 if share else 0.006))
            sample.temperature_celsius = heat
            sample.memory_temperature_celsius = heat + 8
            sample.temperature_margin_celsius = 87 - heat
            sample.power_watts = model.idle_watts + share * (model.limit_watts - model.idle_watts)
            sample.sm_clock_mhz = model.top_clock_mhz if share else model.idle_clock_mhz
            sample.clock_event_reasons = 0 if share else 1
        batch.host.cpu_percent = 2.0 + 60.0 * load / max(1, len(self.uuids))
        batch.host.memory_used_bytes = 16 << 30
        batch.host.load_1m = load * 4
        return batch.SerializeToString()

    def _cold(self) -> event_pb2.TelemetryBatch:
        """Return a sample with what never changes."""
        model = self._model
        return event_pb2.TelemetryBatch(
            gpus=[
                event_pb2.GpuSample(
                    uuid=gpu_uuid,
                    memory_total_bytes=model.memory_bytes,
                    memory_clock_mhz=model.memory_clock_mhz,
                    ecc_corrected=0,
                    ecc_uncorrected=0,
                    pcie_replays=0,
                    remapped_rows_uncorrectable=0,
                    nvlinks_active=model.nvlinks,
                )
                for gpu_uuid in self.uuids
            ]
        )
