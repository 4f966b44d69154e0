"""What is known not to fit, kept between rounds: only hosts that have more free than before could change that."""

from control_plane.fleet.placement.room import Bounds, Recorded, Room, Watch
from control_plane.fleet.queueing.backlog import Backlog, Shape
from control_plane.model.job import ResourceRequest, TopologyDomain

_ONE_HOST = (TopologyDomain.NVLINK, TopologyDomain.NODE)


class Unfit:
    """Shapes that did not fit when a round began. In a room that cannot be watched all are looked at each time."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._room: Room | None = None
        self._recorded: Recorded | None = None
        self._watch: Watch | None = None
        self._known: set[Shape] = set()

    def find(self, room: Room) -> set[Shape]:
        """Return the shapes that do not fit in the room as it is now. What is put there later only takes of it."""
        if room is not self._room:
            self._room, self._recorded = room, room if isinstance(room, Recorded) else None
            self._watch = None if self._recorded is None else self._recorded.watch()
        free = None if self._watch is None else self._watch.look()
        found = set()
        for shape in self._backlog.shapes():
            known = free is not None and shape in self._known and not _may_fit_now(shape.resources, free)
            if known or not self.fits(shape):
                found.add(shape)
        self._known = found
        return set(found)

    def fits(self, shape: Shape) -> bool:
        """Return whether a shape fits in the room as it is now."""
        asked, room = shape.asked_by_first(), self._room
        if self._recorded is not None:
            return self._recorded.fits(asked)
        return room is not None and room.find(asked) is not None


def _may_fit_now(wanted: ResourceRequest, free: Bounds) -> bool:
    """Return whether the smallest member of a gang might be on a host that has as much free."""
    if wanted.anti_affinity:
        return True  # that the right neighbour has left shows in no figure
    if not free.more or wanted.cpu_milli > free.cpu_milli or wanted.memory_bytes > free.memory_bytes:
        return False
    if wanted.gpu_milli:
        return wanted.gpu_milli <= free.gpu_milli
    if wanted.node_count:
        return wanted.gpu_count // wanted.node_count <= free.whole_gpus
    return (wanted.gpu_count if wanted.topology in _ONE_HOST else min(1, wanted.gpu_count)) <= free.whole_gpus
