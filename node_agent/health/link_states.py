"""What telemetry says of a GPU's NVLinks and of the fabric they form."""

from datetime import datetime
from typing import Final

from node_agent.health.actions import FABRIC_MANAGER
from node_agent.health.host import MAXIMUM_GPUS, Host
from node_agent.health.model import Change, Rung, Scope, Severity, Source
from node_agent.health.states import Place, State, States
from node_agent.health.windows import Growth, Recent
from node_agent.probe.samples import Fabric, FabricState, GpuSample, NvlinkSample

MAXIMUM_LINKS: Final = 4096
"""Links whose counters are remembered: 256 GPUs with 16 each; the present models have 18 on 8 GPUs."""
MAXIMUM_LINK_NUMBER: Final = 64

DOWN: Final = State("down", "NVLINK_DOWN", Severity.FATAL, "An NVLink that was up is down", Rung.RESET_GPU)
DOWN_WITH_PEER: Final = State(
    "down", "NVLINK_DOWN", Severity.WARNING, "An NVLink is down while another GPU of this host is lost"
)
ERRORS: Final = State("errors", "NVLINK_ERRORS", Severity.WARNING, "An NVLink has many errors")
NOT_JOINED: Final = State(
    "fabric",
    "FABRIC",
    Severity.WARNING,
    "The GPU has not joined the NVLink fabric",
    Rung.RESTART_SERVICE,
    service=FABRIC_MANAGER,
)
DEGRADED: Final = State("fabric-degraded", "FABRIC_DEGRADED", Severity.WARNING, "The NVLink fabric is degraded")


class LinkStates:
    """Judges links; only a link that was once seen up is expected to be up."""

    def __init__(self, host: Host, states: States) -> None:
        self._host = host
        self._states = states
        self._errors: Recent[str, Growth] = Recent(MAXIMUM_LINKS)
        self._quiet: dict[str, tuple[NvlinkSample, ...]] = {}
        self.expected: dict[str, set[int]] = {}
        """Numbers of the links that have been up, by UUID."""

    def forget(self, uuid: str, link: int | None = None) -> None:
        """Expect a link, or all of a GPU, no more until it is seen up again."""
        self._quiet.pop(uuid, None)
        if link is None:
            self.expected.pop(uuid, None)
        else:
            self.expected.get(uuid, set()).discard(link)

    def read(self, place: Place, sample: GpuSample, at: datetime, now: float) -> list[Change]:
        """Judge one sample of a GPU."""
        changes: list[Change] = []
        if sample.fabric is not None:
            changes += self._fabric(place, sample.fabric, at, now)
        links = sample.nvlinks
        # Links that are up and count no errors stay so while nothing of them changes: they are not judged again.
        if links is None or links is self._quiet.get(place.gpu_uuid) or sample.mig_enabled:  # MIG switches links off
            return changes
        return changes + self._links(place, links, at, now)

    def _links(self, place: Place, links: tuple[NvlinkSample, ...], at: datetime, now: float) -> list[Change]:
        uuid, rules, book = place.gpu_uuid, self._host.rules, self._host.book
        if len(self.expected) >= MAXIMUM_GPUS and uuid not in self.expected:
            return []
        changes: list[Change] = []
        expected = self.expected.setdefault(uuid, set())
        quiet = True
        for link in links[:MAXIMUM_LINK_NUMBER]:
            if link.active:
                expected.add(link.link)
            elif link.link not in expected:
                continue
            prefix = f"link/{uuid}/nvlink-{link.link}"
            where = Place(prefix, Scope.LINK, f"{uuid}/nvlink-{link.link}", uuid, place.pci_bus_id)
            down = not link.active
            growth = 0
            state = DOWN_WITH_PEER if down and self._peer_lost(uuid) else DOWN
            text = f"NVLink {link.link} is inactive" if down else ""
            changes += self._states.read(
                where, state, rules.nvlink_down, bad=down, text=text, source=Source.NVML, at=at, now=now
            )
            if (errors := link.errors) is not None:
                counter = self._errors.get(prefix) or self._errors.set(prefix, Growth())
                growth = counter.add(errors, now, 60.0)
                bad = growth > rules.nvlink_errors_per_minute
                text = f"{growth} errors within a minute" if bad else ""
                changes += self._states.read(
                    where, ERRORS, rules.nvlink_errors, bad=bad, text=text, source=Source.NVML, at=at, now=now
                )
            told = f"{prefix}/{DOWN.slug}" in book or f"{prefix}/{ERRORS.slug}" in book
            quiet = quiet and not (down or growth or told)
        if quiet:
            self._quiet[uuid] = links
        else:
            self._quiet.pop(uuid, None)
        return changes

    def _fabric(self, place: Place, fabric: Fabric, at: datetime, now: float) -> list[Change]:
        if fabric.state in (FabricState.NOT_SUPPORTED, FabricState.UNKNOWN):
            return []
        hold = self._host.rules.fabric
        completed = fabric.state is FabricState.COMPLETED
        absent = not completed or fabric.status != 0
        text = f"state {fabric.state.name}, status {fabric.status}" if absent else ""
        changes = self._states.read(place, NOT_JOINED, hold, bad=absent, text=text, source=Source.NVML, at=at, now=now)
        degraded = bool(fabric.degraded_bandwidth or fabric.route_unhealthy)
        return changes + self._states.read(
            place,
            DEGRADED,
            hold,
            bad=degraded,
            text=f"degraded bandwidth {fabric.degraded_bandwidth}, unhealthy route {fabric.route_unhealthy}"
            if degraded
            else "",
            source=Source.NVML,
            at=at,
            now=now,
        )

    def _peer_lost(self, uuid: str) -> bool:
        return any(f"gpu/{other}/lost" in self._host.book for other in self._host.gpus if other != uuid)
