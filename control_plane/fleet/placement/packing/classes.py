"""The classes of tasks that a policy expects, counted from a list of tasks."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from control_plane.fleet.placement.packing.model import Demand, Task


@dataclass(frozen=True, slots=True)
class TaskClass:
    """Tasks that ask for the same CPU, GPUs and GPU models, and how many they are."""

    demand: Demand
    gpu_models: frozenset[str]
    count: int

    def accepts(self, model: str) -> bool:
        """Whether its tasks take a GPU of this model."""
        return not self.gpu_models or model in self.gpu_models


def count_classes(tasks: Iterable[Task]) -> tuple[TaskClass, ...]:
    """All classes, the most common first; of equally common ones the larger first."""
    counts = Counter((task.demand, task.gpu_models) for task in tasks)
    return in_order(TaskClass(demand, models, count) for (demand, models), count in counts.items())


def in_order(classes: Iterable[TaskClass]) -> tuple[TaskClass, ...]:
    """The classes, the most common first; of equally common ones the larger first."""
    return tuple(sorted(classes, key=_order, reverse=True))


def covering(classes: tuple[TaskClass, ...], percent: int) -> tuple[TaskClass, ...]:
    """The most common classes that together are `percent` of all tasks."""
    total = sum(kind.count for kind in classes)
    covered, taken = 0, []
    for kind in classes:
        if covered * 100 >= total * percent:
            break
        taken.append(kind)
        covered += kind.count
    return tuple(taken)


def _order(kind: TaskClass) -> tuple[int, int, int, int, list[str]]:
    demand = kind.demand
    return kind.count, demand.gpu_count, demand.gpu_milli, demand.cpu_milli, sorted(kind.gpu_models)
