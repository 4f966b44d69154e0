"""The health engine of a real daemon, in this process: kernel lines and samples in, conditions in the store out."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count

from control_plane.governor import health
from control_plane.governor.health import Record
from control_plane.model.health import HealthEvent, HealthEventKind
from control_plane.model.node import Node
from control_plane.services.link_health import read_condition
from evals.lab import Lab
from node_agent.convert_health import to_condition
from node_agent.health.model import Change, ChangeKind, GpuIdentity
from node_agent.probe.samples import GpuSample
from tests.node_agent.health.host import DRIVER, START, Host, pci
from tests.node_agent.health.samples import batch, sample

_KINDS = {
    ChangeKind.RAISED: HealthEventKind.RAISED,
    ChangeKind.CHANGED: HealthEventKind.CHANGED,
    ChangeKind.CLEARED: HealthEventKind.CLEARED,
}


@dataclass
class VirtualHost:
    """A host of the lab with the daemon's own parser and rules."""

    lab: Lab
    node: Node
    _told: int = 0
    _sequence: "count[int]" = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.host = Host(gpus=0)
        self.host.clock.seconds = (self.lab.world.clock.now() - START).total_seconds()
        inventory = self.node.inventory
        found = inventory.gpus if inventory is not None else ()
        gpus = [GpuIdentity(one.uuid, one.index, pci(one.index), one.gpu_type, "", DRIVER) for one in found]
        self.host.gpus = gpus
        self.host.take(self.host.engine.set_gpus(gpus))

    def kernel(self, *lines: str) -> None:
        """Have the kernel print lines; `PCI` stands for the bus id of GPU 0."""
        for line in lines:
            self.host.kernel(line.replace("PCI", pci(0)[:-2]))

    def samples(self, seconds: int, **changes: object) -> None:
        """Measure all GPUs once a second; the changes are those of GPU 0."""
        for _ in range(seconds):
            self.host.clock.advance(1)
            self.host.observe(batch(self.host, list(self._measured(changes))))
            self.host.take(self.host.engine.tick())

    def _measured(self, changes: dict[str, object]) -> Iterable[GpuSample]:
        for one in self.host.gpus:
            measured = replace(sample(one.index), uuid=one.uuid)
            yield replace(measured, **changes) if one.index == 0 else measured  # type: ignore[arg-type] # by their names

    async def report(self) -> None:
        """Send what was not told yet, as the daemon's spool does; the control plane's clock goes along."""
        late = (self.host.clock.now() - self.lab.world.clock.now()).total_seconds()
        if late > 0:
            self.lab.world.clock.advance(late)
        fresh, self._told = self.host.changes[self._told :], len(self.host.changes)
        records = [self._record(change) for change in fresh]
        if records:
            await self.lab.world.store.write(
                lambda tx: health.take(tx, self.node.id, "spool-1", records, live_from=None)
            )

    def _record(self, change: Change) -> Record:
        now = self.lab.world.clock.now()
        condition = read_condition(to_condition(change.condition), now)
        event = HealthEvent(change.id, _KINDS[change.kind], condition, change.occurred_at, change.reason)
        return Record(next(self._sequence), now, event)
