"""What can be done about a failed job: a closed table from causes to remedies, and what bounds each. Pure.

A diagnosis rests on lines that strangers wrote, so it selects from this table and nothing else: every remedy keeps the
job's program, image and environment. What was agreed on is not left either: the models that were named, the goal's
budget, and where it has none, the job's time limit over all its attempts. Beyond that the person is asked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from control_plane.fleet import remedies_words as words
from control_plane.fleet.cost import estimate_usd
from control_plane.fleet.prices import PriceTable
from control_plane.fleet.remedies_memory import HostGpus, larger_gpus, more_host_memory
from control_plane.model.diagnosis import Diagnosis, FaultDomain
from control_plane.model.job import JobSpec, ResourceRequest
from control_plane.model.money import format_usd
from control_plane.model.run_replan import RemedyKind

RULES: Final = "rules"
"""Who has found a cause for which a job may be run again. Because of a model's alone a person is asked at most."""

_RETRY = (RemedyKind.RETRY, RemedyKind.GIVE_UP, RemedyKind.ASK)
_ASK = (RemedyKind.ASK, RemedyKind.GIVE_UP)
_GIVE_UP = (RemedyKind.GIVE_UP,)

TABLE: Final[Mapping[str, tuple[RemedyKind, ...]]] = {
    # The network, a peer or the fleet itself: nothing says that it happens again.
    "NETWORK_UNREACHABLE": _RETRY,
    "NCCL_TIMEOUT": _RETRY,
    "NCCL_ERROR": _RETRY,
    "PEER_DISCONNECTED": _RETRY,
    "PORT_IN_USE": _RETRY,
    "NODE_LOST": _RETRY,
    "HOST_FAULT": _RETRY,
    "GPU_LOST": _RETRY,
    "GPU_UNCORRECTABLE_ECC": _RETRY,
    "NVLINK_ERROR": _RETRY,
    # More of something helps, where there is more.
    "GPU_OUT_OF_MEMORY": (RemedyKind.MORE_GPU_MEMORY, RemedyKind.GIVE_UP),
    "HOST_OUT_OF_MEMORY": (RemedyKind.MORE_HOST_MEMORY, RemedyKind.GIVE_UP),
    # More costs more, somebody else has to act first, or it may be anything.
    "TIME_LIMIT": _ASK,
    "DISK_FULL": _ASK,
    "ACCESS_DENIED": _ASK,
    "KILLED": _ASK,
    "CUDA_ERROR": _ASK,
    "UNKNOWN": _ASK,
}
"""The remedies of each cause, in the order in which rules choose; every other cause of the job's own has none."""

_NOT_ITS_OWN = (FaultDomain.HARDWARE, FaultDomain.PLATFORM, FaultDomain.PROVIDER)
_NEEDS_A_PERSON: Final = frozenset({"CUDA_DRIVER_MISMATCH", "READ_ONLY_FILE_SYSTEM"})
"""Faults outside the job that are the same at the next try."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed job.

    `gpu_type` and `gpu_memory_bytes` are of the GPUs that its newest attempt had, 0 if not known. `used_seconds` is how
    long it ran at its owner's cost, `last_seconds` how long its newest attempt ran. `stopped`: a person has stopped
    jobs of its goal.
    """

    spec: JobSpec
    diagnosis: Diagnosis
    gpu_type: str = ""
    gpu_memory_bytes: int = 0
    used_seconds: float = 0.0
    last_seconds: float = 0.0
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """What bounds a remedy: the fleet, the goal, and what was tried for this job and those whose places it took.

    `dependents` are run again with it. `tried` pairs causes with changes. None for the time to the deadline, or for the
    money left of the goal's budget: it has none.
    """

    replans_left: int
    replans_most: int = 2
    hosts: tuple[HostGpus, ...] = ()
    host_memory_bytes: int = 0
    deadline_seconds: float | None = None
    budget_left_usd: Decimal | None = None
    dependents: tuple[JobSpec, ...] = ()
    tried: frozenset[tuple[str, str]] = frozenset()
    prices: PriceTable = field(default_factory=PriceTable)


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing that can be done. `words` say it to a person: how a job is run again, what is asked, or why neither.

    `gpu_types` are models that an answer may name. `by_limit`: a limit is why nothing is done.
    """

    kind: RemedyKind
    words: str
    resources: ResourceRequest = field(default_factory=ResourceRequest)
    max_runtime_seconds: int = 0
    gpu_types: tuple[str, ...] = ()
    by_limit: bool = False

    @property
    def change(self) -> str:
        """What tells it from others of its kind."""
        if not self.kind.runs_again:
            return self.kind.value
        return f"{self.kind.value} {self.resources.min_gpu_memory_bytes} {self.resources.memory_bytes}"


def remedies(failure: Failure, room: Room) -> tuple[Remedy, ...]:
    """Return what can be done, in the order in which rules choose; giving up is always among it."""
    if failure.stopped:
        return (Remedy(RemedyKind.GIVE_UP, "a person has stopped jobs of its goal, so nothing is run in its place"),)
    kinds = _kinds(failure.diagnosis)
    if room.replans_left <= 0 and kinds != _GIVE_UP:
        return (_limited(words.bound(room.replans_most)),)
    found: dict[RemedyKind, Remedy] = {}
    for made in (made for kind in kinds for made in _make(kind, failure, room)):
        if made.kind is RemedyKind.GIVE_UP or (failure.diagnosis.cause, made.change) not in room.tried:
            found.setdefault(made.kind, made)
    return tuple(found.values())


def _kinds(diagnosis: Diagnosis) -> tuple[RemedyKind, ...]:
    if diagnosis.cause in TABLE:
        kinds = TABLE[diagnosis.cause]
    else:
        again = diagnosis.fault in _NOT_ITS_OWN and diagnosis.cause not in _NEEDS_A_PERSON
        kinds = _RETRY if again else _GIVE_UP
    if diagnosis.diagnosed_by == RULES or kinds == _GIVE_UP:
        return kinds
    return _ASK  # nothing is done because of a model's words alone: it has read what strangers wrote


def _make(kind: RemedyKind, failure: Failure, room: Room) -> Iterator[Remedy]:
    match kind:
        case RemedyKind.RETRY:
            yield _held(Remedy(kind, "run again as it was", failure.spec.resources), failure, room)
        case RemedyKind.MORE_GPU_MEMORY:
            yield from _more_gpu_memory(failure, room)
        case RemedyKind.MORE_HOST_MEMORY:
            yield from _more_host_memory(failure, room)
        case RemedyKind.ASK:
            over = _over(room)
            yield over or Remedy(kind, words.question(failure.spec, failure.diagnosis, room.prices))
        case _:
            yield Remedy(RemedyKind.GIVE_UP, words.advice(failure.spec, failure.diagnosis))


def _more_gpu_memory(failure: Failure, room: Room) -> Iterator[Remedy]:
    wanted = failure.spec.resources
    fitting = larger_gpus(room.hosts, wanted, failure.gpu_memory_bytes)
    resources = _on_larger_gpus(wanted, fitting)
    if resources is not None:
        text = f"run again on GPUs with at least {words.gigabytes(resources.min_gpu_memory_bytes)}"
        yield _held(Remedy(RemedyKind.MORE_GPU_MEMORY, text, resources), failure, room)
    elif fitting:
        text = words.other_models(failure.spec, failure.gpu_type, failure.gpu_memory_bytes, fitting, room.prices)
        yield Remedy(RemedyKind.ASK, text, gpu_types=tuple(sorted(fitting)))


def _on_larger_gpus(wanted: ResourceRequest, fitting: Mapping[str, int]) -> ResourceRequest | None:
    """Return the request with the least memory that is more, on models that may be used, or None."""
    named = {one: memory for one, memory in fitting.items() if not wanted.gpu_types or one in wanted.gpu_types}
    if not named:
        return None
    types = tuple(one for one in wanted.gpu_types if one in named)
    return replace(wanted, min_gpu_memory_bytes=min(named.values()), gpu_types=types)


def _more_host_memory(failure: Failure, room: Room) -> Iterator[Remedy]:
    more = more_host_memory(room.hosts, room.host_memory_bytes, failure.spec.resources)
    if more:
        resources = replace(failure.spec.resources, memory_bytes=more)
        text = f"run again with {words.gigabytes(more)} of host memory"
        yield _held(Remedy(RemedyKind.MORE_HOST_MEMORY, text, resources), failure, room)


def more_memory(failure: Failure, room: Room) -> ResourceRequest:
    """Return what the job needs so that it does not run out of memory in the same way; as it was for other causes."""
    wanted = failure.spec.resources
    kinds = _kinds(failure.diagnosis)
    if RemedyKind.MORE_GPU_MEMORY in kinds:
        return _on_larger_gpus(wanted, larger_gpus(room.hosts, wanted, failure.gpu_memory_bytes)) or wanted
    if RemedyKind.MORE_HOST_MEMORY in kinds:
        more = more_host_memory(room.hosts, room.host_memory_bytes, wanted)
        return replace(wanted, memory_bytes=more or wanted.memory_bytes)
    return wanted


def _held(remedy: Remedy, failure: Failure, room: Room) -> Remedy:
    """Return the remedy with its time limit, or what is done because the goal does not hold it."""
    spec = replace(failure.spec, resources=remedy.resources)
    limit = spec.max_runtime_seconds
    agreed = int(limit - failure.used_seconds)
    fits = _time_that_fits(spec, failure, room, agreed if room.budget_left_usd is None else limit, remedy.words)
    if isinstance(fits, Remedy) and room.budget_left_usd is not None and agreed > failure.last_seconds:
        less = _time_that_fits(spec, failure, room, agreed, remedy.words)
        fits = fits if isinstance(less, Remedy) else less
    return fits if isinstance(fits, Remedy) else replace(remedy, max_runtime_seconds=fits)


def _over(room: Room) -> Remedy | None:
    """Return that nothing is left of the goal's time or money, or None."""
    if room.deadline_seconds is not None and room.deadline_seconds <= 0:
        return _limited(words.deadline(0, 0))
    if room.budget_left_usd is not None and room.budget_left_usd <= 0:
        return _limited("nothing is left of the goal's budget")
    return None


def _time_that_fits(spec: JobSpec, failure: Failure, room: Room, seconds: int, how: str) -> int | Remedy:
    """Return the time limit that another try has, at most `seconds`, or what is done because it has not enough.

    It has enough if it gets at least as far as the attempt before it: less could only fail again. `how` it is run again
    is what a question about it tells.
    """
    least = max(failure.last_seconds, 1.0)
    if room.deadline_seconds is not None and room.deadline_seconds <= least:
        return _limited(words.deadline(room.deadline_seconds, failure.last_seconds))
    if seconds <= least and room.budget_left_usd is None:
        full = estimate_usd(replace(spec, max_runtime_seconds=failure.spec.max_runtime_seconds), room.prices)
        return Remedy(RemedyKind.ASK, words.more_than_agreed(failure.spec, failure.diagnosis, how, full))
    if room.deadline_seconds is not None:
        seconds = min(seconds, int(room.deadline_seconds))
    needed = estimate_usd(replace(spec, max_runtime_seconds=max(seconds, 0)), room.prices)
    needed += sum((estimate_usd(one, room.prices) for one in room.dependents), Decimal(0))
    if room.budget_left_usd is not None and (seconds <= least or needed > room.budget_left_usd):
        left = format_usd(max(room.budget_left_usd, Decimal(0)))
        return _limited(f"another try may cost {format_usd(needed)}, and {left} is left of the goal's budget")
    return seconds


def _limited(text: str) -> Remedy:
    return Remedy(RemedyKind.GIVE_UP, text, by_limit=True)
