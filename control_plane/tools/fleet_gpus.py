"""Counts the fleet's GPUs by model without reading what each host is made of again and again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.model.ids import NodeId
from control_plane.model.node import GpuHealth, NodeState
from control_plane.store import conditions, gpu_briefs, gpu_holds
from control_plane.store.database import Tx
from control_plane.store.gpu_briefs import GpuBrief, NodeBrief
from control_plane.store.gpu_holds import Holders
from control_plane.tools.capacity import Count, Wellness, of_host, serves


@dataclass(frozen=True, slots=True)
class FleetCount:
    """GPUs of hosts that are not lost by model, and the model of each GPU that is held, by the node that it is on."""

    models: Mapping[str, Count]
    held: Mapping[NodeId, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class FleetView:
    """The hosts that are not revoked with their GPUs, who holds those, and what is wrong with them."""

    hosts: tuple[tuple[NodeBrief, tuple[GpuBrief, ...]], ...]
    holders: Holders
    wellness: Wellness


@dataclass(slots=True)
class FleetGpus:
    """Remembers the GPUs of each node until the node changes. May be used by several threads at once."""

    _known: dict[NodeId, tuple[int, tuple[GpuBrief, ...]]] = field(default_factory=dict)

    def view(self, tx: Tx) -> FleetView:
        """Return the GPUs of all hosts as they are now."""
        hosts = gpu_briefs.hosts(tx)
        self._learn(tx, hosts)
        known = self._known
        return FleetView(
            tuple((host, known.get(host.id, (0, ()))[1]) for host in hosts),
            gpu_holds.holders(tx),
            Wellness(conditions.gpu_health(tx), conditions.closed_hosts(tx)),
        )

    def count(self, tx: Tx) -> FleetCount:
        """Return how many GPUs there are now."""
        view = self.view(tx)
        models: dict[str, Count] = {}
        held: dict[NodeId, dict[str, str]] = {}
        makes: Counter[tuple[bool, tuple[str, ...]]] = Counter()
        busy = {held[0].node_id for held in view.holders.values()}
        for host, gpus in view.hosts:
            if host.state is NodeState.LOST:
                continue
            sick = host.id in view.wellness.gpus or any(gpu.health is GpuHealth.FAILED for gpu in gpus)
            if not sick and host.id not in busy:
                makes[serves(host, view.wellness), tuple(gpu.gpu_type for gpu in gpus)] += 1
                continue
            for gpu_type, count in of_host(host, gpus, view.holders, view.wellness).items():
                models.setdefault(gpu_type, Count()).add(count)
            for gpu in gpus:
                if gpu.uuid in view.holders:
                    held.setdefault(host.id, {})[gpu.uuid] = gpu.gpu_type
        for (takes_jobs, gpu_types), number in makes.items():  # most hosts are like thousands of others
            for gpu_type in gpu_types:
                models.setdefault(gpu_type, Count()).add(Count(total=number, idle=number * takes_jobs))
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
