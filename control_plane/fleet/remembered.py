"""What memory says about repairs of such a fault: which rungs have failed before, and so are not tried first. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from control_plane.fleet import ladder
from control_plane.model.health import Condition
from control_plane.model.memory import Memory, MemoryKind, MemoryOutcome
from control_plane.model.node import Node
from control_plane.model.repair import Rung

RECENT: Final = timedelta(days=30)
"""What is older says nothing: drivers and hosts have changed since."""
TOLD_MAX: Final = 3
"""Memories that are named; the newest."""

_MAY_BE_PASSED: Final = frozenset(Rung) - {Rung.VERIFY, Rung.MOVE_JOB, Rung.QUARANTINE}
_BAD: Final = frozenset({MemoryOutcome.FAILED, MemoryOutcome.WORSE})


@dataclass(frozen=True, slots=True)
class Fault:
    """What memory is asked about: the symptoms of what asks for a repair, on what kind of GPU and host."""

    symptoms: tuple[str, ...]
    gpu_type: str
    node_class: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a rung went on such a fault: `failures` and `successes` count incidents; `memory_ids` newest first."""

    rung: Rung
    failures: int
    successes: int
    memory_ids: tuple[str, ...]
    last_at: datetime

    @property
    def warns(self) -> bool:
        """Whether it failed more often than it helped."""
        return self.failures > self.successes

    @property
    def words(self) -> str:
        """It as a person reads it."""
        named = ", ".join(self.memory_ids[:TOLD_MAX])
        times = self.failures + self.successes
        return f"{self.rung.words} failed {self.failures} of {times} times ({named}; last {self.last_at:%Y-%m-%d})"


def tool_of(rung: Rung) -> str:
    """Return what a rung is called in memories."""
    return rung.name.lower()


def symptom_of(condition: Condition) -> str:
    """Return the term of a condition, for example "xid:79": equal for equal faults of different hosts."""
    kind = condition.kind.lower().replace(" ", "_")
    return f"{kind}:{condition.code}" if condition.code else kind


def symptoms_of(conditions: Collection[Condition]) -> tuple[str, ...]:
    """Return the terms of those that ask for a repair, or of all if none does."""
    asking = [one for one in conditions if one.repair is not None] or list(conditions)
    return tuple(sorted({symptom_of(one) for one in asking}))


def node_class_of(node: Node) -> str:
    """Return what kind of host it is, for example "8x H100"; "" where its GPUs are not known."""
    types = [gpu.gpu_type for gpu in node.inventory.gpus if gpu.gpu_type] if node.inventory else []
    return " + ".join([f"{types.count(gpu_type)}x {gpu_type}" for gpu_type in sorted(set(types))])


def gpu_type_of(node: Node, conditions: Iterable[Condition]) -> str:
    """Return the model of the GPUs that are meant, or of all of the host; "" if they are of several."""
    gpus = node.inventory.gpus if node.inventory else ()
    meant = {one.gpu_uuid for one in conditions if one.gpu_uuid}
    types = {gpu.gpu_type for gpu in gpus if not meant or gpu.uuid in meant}
    return types.pop() if len(types) == 1 else ""


def fault_of(node: Node, conditions: Collection[Condition]) -> Fault:
    """Return what to ask memory about."""
    return Fault(symptoms_of(conditions), gpu_type_of(node, conditions), node_class_of(node))


def lessons(memories: Iterable[Memory], fault: Fault, now: datetime) -> dict[Rung, Lesson]:
    """Return what each rung came to in recent incidents of this fault on such a GPU or host."""
    found: dict[Rung, Lesson] = {}
    for memory in sorted(memories, key=lambda one: (one.created_at, one.id), reverse=True):
        if not _fits(memory, fault, now):
            continue
        for number, action in enumerate(memory.actions):
            rung = _RUNGS.get(action.tool)
            if rung is None or action.result is MemoryOutcome.UNKNOWN:
                continue
            failures, successes = _counted(memory, action.result, last=number == len(memory.actions) - 1)
            known = found.get(rung, Lesson(rung, 0, 0, (), memory.created_at))
            found[rung] = Lesson(
                rung,
                known.failures + failures,
                known.successes + successes,
                (*known.memory_ids, memory.id),
                known.last_at,
            )
    return found


def start(
    rung: Rung,
    conditions: Collection[Condition],
    tried: Collection[Rung],
    learnt: dict[Rung, Lesson],
    *,
    allowed: Collection[Rung],
    jobs_in_the_way: bool,
) -> tuple[Rung, tuple[Lesson, ...]]:
    """Return the rung to begin with instead of `rung`, and the lessons that say so; none if it stays.

    If every rung that fits has failed before, the gentlest is tried all the same: memory puts nothing out of service.
    """
    passed: list[Lesson] = []
    chosen = rung
    while (lesson := learnt.get(chosen)) is not None and lesson.warns and chosen in _MAY_BE_PASSED:
        passed.append(lesson)
        above = [*tried, *(one.rung for one in passed)]
        following = ladder.choose(conditions, above, allowed=allowed, jobs_in_the_way=jobs_in_the_way)
        if following is None or following is Rung.QUARANTINE:
            return rung, ()
        chosen = following
    return chosen, tuple(passed)


def _fits(memory: Memory, fault: Fault, now: datetime) -> bool:
    same_place = (bool(memory.gpu_type) and memory.gpu_type == fault.gpu_type) or (
        bool(memory.node_class) and memory.node_class == fault.node_class
    )
    recent = now - RECENT <= memory.created_at <= now
    of_fleet = memory.kind is MemoryKind.INCIDENT and not memory.tenant
    return of_fleet and recent and same_place and not set(fault.symptoms).isdisjoint(memory.symptoms)


def _counted(memory: Memory, result: MemoryOutcome, *, last: bool) -> tuple[int, int]:
    """Return failures and successes. A rung that was followed by another has failed each time."""
    if not last:
        return (memory.count, 0) if result in _BAD else (0, memory.count)
    return memory.count - memory.fixed_count, memory.fixed_count


_RUNGS: Final = {tool_of(rung): rung for rung in Rung}
