"""What the order of the queue is decided on: hosts, what is held on them, and who can tell where a job would fit."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol, runtime_checkable

from control_plane.model.action import Placement
from control_plane.model.ids import AllocationId, JobId, NodeId, UserId
from control_plane.model.job import JobPriority, ResourceRequest


@dataclass(frozen=True, slots=True)
class GpuSlot:
    """A GPU or a MIG device that jobs can hold. Slots of one `island` reach each other over NVLink.

    `mig_profile` is empty for a whole GPU; one in MIG mode offers its devices and not itself.
    """

    uuid: str
    index: int
    gpu_type: str
    memory_bytes: int
    island: int = 0
    mig_profile: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """A host. One that is not `open` keeps what it holds and takes nothing more.

    `shares` says whether its GPUs can be divided, `enforces_shares` whether jobs are held to their parts of them.
    """

    node_id: NodeId
    name: str
    slots: tuple[GpuSlot, ...]
    cpu_milli: int
    memory_bytes: int
    labels: Mapping[str, str]
    open: bool = True
    shares: bool = True
    enforces_shares: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """What one attempt of a job holds.

    `ends_by` is when its time limit ends it at the latest; `protected_until`, from when on it may be preempted;
    `checkpointed_at`, since when work would be lost (its start if it keeps no checkpoints). `stopping` means that
    it has been asked to stop already.
    """

    allocation_id: AllocationId
    job_id: JobId
    user_id: UserId
    team: str
    priority: JobPriority
    resources: ResourceRequest
    placements: tuple[Placement, ...]
    started_at: datetime
    ends_by: datetime | None = None
    protected_until: datetime | None = None
    checkpointed_at: datetime | None = None
    stopping: bool = False

    @property
    def gpus(self) -> float:
        """GPUs held; parts count as parts."""
        if self.resources.gpu_milli:
            return self.resources.gpu_milli / 1000
        return float(sum(len(one.gpu_uuids) for one in self.placements))


def by_host(claim: Claim) -> list[tuple[NodeId, tuple[str, ...]]]:
    """Return what a claim has on each host: once a host, whatever the claim says."""
    if len(claim.placements) == 1:
        return [(claim.placements[0].node_id, claim.placements[0].gpu_uuids)]
    found: dict[NodeId, tuple[str, ...]] = {}
    for one in claim.placements:
        found[one.node_id] = found.get(one.node_id, ()) + one.gpu_uuids
    return list(found.items())


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job asks for, beside its size: whose it is decides which other jobs it may not sit beside."""

    job_id: JobId
    team: str
    resources: ResourceRequest


@dataclass(frozen=True, slots=True)
class Found:
    """Where a job goes, and why there."""

    gpu_type: str
    placements: tuple[Placement, ...]
    reason: str


class Lack(Enum):
    """What a job that finds no room lacks."""

    NOTHING = "nothing"
    NEVER = "never"  # no state of the open hosts could hold it
    IN_USE = "in_use"  # enough is there, too little of it is free
    IN_PIECES = "in_pieces"  # enough is free, but not together
    CPU_OR_MEMORY = "cpu_or_memory"  # GPUs are free, cores or memory of the host are not


@dataclass(frozen=True, slots=True)
class Missing:
    """What is lacking, for a person, and in figures: GPUs or MIG devices, or hosts for who wants none.

    `free` and `total` are of those that would do, on open hosts that the job may use; a divided GPU is free if the part
    that is wanted is. `would_help` is what would let it start now, or ever if it never can, the least change first.
    """

    lack: Lack
    text: str
    wanted: int = 0
    free: int = 0
    total: int = 0
    would_help: tuple[str, ...] = ()


class Room(Protocol):
    """The hosts as they are filled now. Changed by one thread at a time."""

    def find(self, asked: Asked) -> Found | None:
        """Return where the job would best go now, or None. Changes nothing. The same state gives the same answer."""
        ...

    def put(self, claim: Claim) -> None:
        """Take what the claim holds. Raises OverCommitError, and changes nothing, if it is not free."""
        ...

    def drop(self, allocation_id: AllocationId) -> None:
        """Free what the claim holds; nothing happens if it is not there."""
        ...

    def claims(self) -> Mapping[AllocationId, Claim]:
        """Return what is held, in the order in which it was put."""
        ...

    def without(self, allocation_ids: Iterable[AllocationId]) -> AbstractContextManager[None]:
        """Free these claims inside the block only, to see what would fit then."""
        ...

    def could_ever(self, asked: Asked) -> bool:
        """Return whether the job would fit if its open hosts were empty."""
        ...

    def missing(self, asked: Asked) -> Missing:
        """Return what the job lacks to start now, and what would help."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that is free on any one of some hosts; each figure may be of another one. `more` if there is any host.

    `gpu_milli` is the most that is free of any one GPU, in thousandths.
    """

    cpu_milli: int = 0
    memory_bytes: int = 0
    whole_gpus: int = 0
    gpu_milli: int = 0
    more: bool = False


class Watch(Protocol):
    """Sees what comes free between one look and the next."""

    def look(self) -> Bounds | None:
        """Return the most that is free on any one host that has more free than at the last look; None at the first."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """A room that can tell what has changed. It changes no answer, it spares looking at all of it."""

    def fits(self, asked: Asked) -> bool:
        """Return whether the job would fit now: as `find`, without weighing where it would best go."""
        ...

    def watch(self) -> Watch:
        """Begin to watch for room that comes free. Who keeps away from whom is not watched."""
        ...

    def claims_moment(self) -> int:
        """Return the moment that it is now for claims."""
        ...

    def claims_changed_since(self, moment: int) -> Collection[AllocationId] | None:
        """Return which claims came, went or changed since that moment; None if that is not known."""
        ...


@runtime_checkable
class Foresight(Protocol):
    """A room that can tell ahead what must end for a job to fit. It changes no answer, it spares trying."""

    def must_end(self, asked: Asked, claims: Sequence[Claim]) -> tuple[Claim, ...] | None:
        """Return which of these must end at least, if they end in the order given, for the job to fit.

        None if it does not fit even when all have ended; with all that is returned ended it may fit or not. Claims that
        do not matter to the job are left out.
        """
        ...
