"""What is asked for, learned from what was asked for: counts of recent demands, the older the lighter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from control_plane.fleet.placement.kinds import MIG_MODEL
from control_plane.fleet.placement.needs import slots_of
from control_plane.fleet.placement.packing.classes import TaskClass, in_order
from control_plane.fleet.placement.packing.model import MAX_GPUS_PER_NODE, WHOLE_GPU_MILLI, Demand
from control_plane.model.job import ResourceRequest

HALF_LIFE_DEMANDS = 10_000  # after so many more, a demand counts half
MAX_CLASSES = 512
_MOST_AWAITED = 64  # classes that only those who wait are of
_SHARE_GRAIN_MILLI = 10
_CPU_GRAIN_MILLI = 500
_COUNT_PARTS = 1_000  # weights become whole counts of this many parts
_LARGEST_UNIT = 2.0**40  # weights are divided by it then, long before floats grow coarse
_VERSION = 1
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class _Class:
    demand: Demand
    models: tuple[str, ...]


# Where nothing is known: whole GPUs, halves and quarters, with eight cores for each GPU; as much as 20 demands.
USUAL: Final = MappingProxyType(
    {
        _Class(Demand(8_000, 1, 1_000), ()): 10.0,
        _Class(Demand(4_000, 1, 500), ()): 6.0,
        _Class(Demand(2_000, 1, 250), ()): 4.0,
    }
)


class History:
    """Weights of classes of demands. The same demands in the same order give the same weights.

    Shares are rounded up to hundredths of a GPU and cores to halves, so that like demands are one class. Each host of a
    gang counts as a demand.
    """

    def __init__(self) -> None:
        self._weights: dict[_Class, float] = {}
        self._unit = 1.0  # the weight of a demand now; growing it makes all earlier ones lighter
        self.noted = 0  # demands in all

    def note(self, request: ResourceRequest) -> None:
        """Count what a job asks for when it is submitted, once."""
        self.noted += 1
        self._unit *= 2 ** (1 / HALF_LIFE_DEMANDS)
        found = class_of(request)
        kind = _Class(found.demand, tuple(sorted(found.gpu_models)))
        if kind not in self._weights and len(self._weights) >= MAX_CLASSES:
            del self._weights[min(self._weights, key=self._weights.__getitem__)]
        self._weights[kind] = self._weights.get(kind, 0.0) + self._unit * found.count
        if self._unit > _LARGEST_UNIT:
            self._weights = {kind: weight / self._unit for kind, weight in self._weights.items()}
            self._unit = 1.0

    @property
    def weight(self) -> float:
        """How many demands it stands for now."""
        return sum(self._weights.values()) / self._unit

    def classes(self, waiting: Iterable[ResourceRequest] = ()) -> tuple[TaskClass, ...]:
        """Return the classes to expect, most common first; those that wait count once more, as far as there is place.

        Counts are in thousandths of a demand. `USUAL` counts as the first demands of all, so that few do not mislead.
        """
        counts = dict(USUAL)
        for kind, weight in self._weights.items():
            counts[kind] = counts.get(kind, 0.0) + weight / self._unit
        most = len(counts) + _MOST_AWAITED
        for request in waiting:
            found = class_of(request)
            kind = _Class(found.demand, tuple(sorted(found.gpu_models)))
            if kind in counts or len(counts) < most:
                counts[kind] = counts.get(kind, 0.0) + found.count
        return in_order(
            TaskClass(kind.demand, frozenset(kind.models), count)
            for kind, weight in counts.items()
            if (count := round(weight * _COUNT_PARTS)) > 0
        )

    def dump(self) -> dict[str, object]:
        """Return all of it as plain values, ready for JSON."""
        return {
            "version": _VERSION,
            "noted": self.noted,
            "unit": self._unit,
            "classes": [
                [kind.demand.cpu_milli, kind.demand.gpu_count, kind.demand.gpu_milli, list(kind.models), weight]
                for kind, weight in self._weights.items()
            ],
        }

    @classmethod
    def load(cls, dumped: Mapping[str, object]) -> "History":
        """Return the history that was dumped. Raises ValueError if it is not one; begin an empty one then."""
        history = cls()
        try:
            if dumped["version"] != _VERSION:
                raise ValueError(f"a history of version {dumped['version']!r} cannot be read; begin an empty one")
            history.noted = _whole(dumped["noted"])
            history._unit = _weight(dumped["unit"])
            classes = dumped["classes"]
            if not isinstance(classes, list) or len(classes) > MAX_CLASSES:
                raise ValueError("a history holds a list of classes; begin an empty one")
            for one in classes:
                cpu, count, milli, models, weight = one if len(one) == _FIELDS else _FIELDS * [None]
                if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
                    raise ValueError("a class of a history names GPU models; begin an empty one")
                demand = Demand(_whole(cpu), _whole(count), _whole(milli))
                if demand.gpu_milli > WHOLE_GPU_MILLI or (demand.gpu_count > 0) != (demand.gpu_milli > 0):
                    raise ValueError("a class of a history asks for no such part of a GPU; begin an empty one")
                history._weights[_Class(demand, tuple(models))] = _weight(weight)
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not a history: {error}; begin an empty one") from error
        return history


def class_of(request: ResourceRequest) -> TaskClass:
    """Return what each host of a request takes, rounded up, and on how many hosts."""
    slots = slots_of(request)
    hosts = request.node_count or -(-slots // MAX_GPUS_PER_NODE) or 1
    each = slots // hosts if slots else 0
    cpu = -(-request.cpu_milli // _CPU_GRAIN_MILLI) * _CPU_GRAIN_MILLI
    share = -(-request.gpu_milli // _SHARE_GRAIN_MILLI) * _SHARE_GRAIN_MILLI if request.gpu_milli else WHOLE_GPU_MILLI
    models = [MIG_MODEL + request.mig_profile] if request.mig_profile else request.gpu_types
    return TaskClass(Demand(cpu, each, share if each else 0), frozenset(models), hosts)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError(f"{value!r} is no count; begin an empty history")
    return value


def _weight(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2.0**60:
        raise ValueError(f"{value!r} is no weight; begin an empty history")
    return float(value)
