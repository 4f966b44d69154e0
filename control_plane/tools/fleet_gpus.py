"""Counts the fleet's GPUs by model without reading what each host is made of again and again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.model.ids import NodeId
from control_plane.model.job import WHOLE_GPU_MILLI
from control_plane.model.node import GpuHealth, NodeState
from control_plane.store import conditions, gpu_briefs, gpu_holds
from control_plane.store.database import Tx
from control_plane.store.gpu_briefs import GpuBrief, NodeBrief


@dataclass(slots=True)
class ModelCount:
    """GPUs of one model: `allocated` to jobs, `partly` so that a part is left, `free` for a job now.

    `used_milli` is how much of all is held, in thousandths of a GPU.
    """

    total: int = 0
    allocated: int = 0
    partly: int = 0
    used_milli: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class FleetCount:
    """GPUs by model, and the model of each GPU that is held, by the node that it is on."""

    models: Mapping[str, ModelCount]
    held: Mapping[NodeId, Mapping[str, str]]


@dataclass(slots=True)
class FleetGpus:
    """Remembers the GPUs of each node until the node changes. May be used by several threads at once."""

    _known: dict[NodeId, tuple[int, tuple[GpuBrief, ...]]] = field(default_factory=dict)

    def count(self, tx: Tx) -> FleetCount:
        """Return how many GPUs there are now."""
        hosts = gpu_briefs.hosts(tx)
        self._learn(tx, hosts)
        holders = gpu_holds.holders(tx)
        troubles, closed = conditions.gpu_health(tx), conditions.closed_hosts(tx)
        models: dict[str, ModelCount] = {}
        held: dict[NodeId, dict[str, str]] = {}
        makes: Counter[tuple[bool, tuple[str, ...]]] = Counter()
        exact: list[tuple[bool, NodeId, tuple[GpuBrief, ...]]] = []
        busy = {held[0].node_id for held in holders.values()}
        for host in hosts:
            found = self._known.get(host.id, (0, ()))[1]
            serves = host.state is NodeState.READY and host.id not in closed
            if host.id in busy or host.id in troubles or any(gpu.health is GpuHealth.FAILED for gpu in found):
                exact.append((serves, host.id, found))
            else:
                makes[serves, tuple(gpu.gpu_type for gpu in found)] += 1
        for (serves, gpu_types), number in makes.items():  # most hosts are like thousands of others
            for gpu_type in gpu_types:
                model = models.setdefault(gpu_type, ModelCount())
                model.total += number
                model.free += number * serves
        for serves, node_id, found in exact:
            wrong = troubles.get(node_id, {})
            for gpu in found:
                model = models.setdefault(gpu.gpu_type, ModelCount())
                model.total += 1
                if on_it := holders.get(gpu.uuid, ()):
                    used = gpu_holds.used_milli(gpu, on_it)
                    model.allocated += 1
                    model.used_milli += used
                    model.partly += used < WHOLE_GPU_MILLI
                    held.setdefault(node_id, {})[gpu.uuid] = gpu.gpu_type
                else:
                    model.free += serves and GpuHealth.FAILED not in (gpu.health, wrong.get(gpu.uuid))
        return FleetCount(models, held)

    def _learn(self, tx: Tx, hosts: list[NodeBrief]) -> None:
        """Read the GPUs of nodes that have changed since the last time, and forget those that have left."""
        known = self._known
        changed = {host.id: host.version for host in hosts if known.get(host.id, (0, ()))[0] != host.version}
        for node_id, found in gpu_briefs.gpus(tx, changed).items():
            known[node_id] = (changed[node_id], found)
        if len(known) > len(hosts):
            here = {host.id for host in hosts}
            self._known = {node_id: found for node_id, found in list(known.items()) if node_id in here}
