"""Kinds of slots, by number, so that arrays can hold them."""

from dataclasses import dataclass

import numpy as np

from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI
from control_plane.fleet.placement.packing.state import Bools, Ints
from control_plane.fleet.placement.room import GpuSlot
from control_plane.model.job import ResourceRequest

MIG_MODEL = "MIG "  # before a profile: what the packing policies know a MIG device by


@dataclass(frozen=True, slots=True)
class Kind:
    """What makes slots alike. The profile is empty for a whole GPU."""

    gpu_type: str
    memory_bytes: int
    mig_profile: str

    @property
    def model(self) -> str:
        """What the packing policies know it by."""
        return MIG_MODEL + self.mig_profile if self.mig_profile else self.gpu_type


class Kinds:
    """All kinds that were ever seen. Number 0 is "no slot"; numbers never change, so there is no forgetting."""

    def __init__(self) -> None:
        self.all: list[Kind] = [Kind("", 0, "")]
        self.models: list[str] = [""]
        self._numbers: dict[Kind, int] = {}
        self._model_numbers: dict[str, int] = {}
        self.model_of: Ints = np.zeros(1, dtype=np.int64)
        self.memory_of: Ints = np.zeros(1, dtype=np.int64)

    def number(self, slot: GpuSlot) -> int:
        """Return the number of the slot's kind."""
        kind = Kind(slot.gpu_type, slot.memory_bytes, slot.mig_profile)
        found = self._numbers.get(kind)
        if found is None:
            found = self._numbers[kind] = len(self.all)
            self.all.append(kind)
            model = self._model_numbers.get(kind.model)
            if model is None:
                model = self._model_numbers[kind.model] = len(self.models)
                self.models.append(kind.model)
            self.model_of = np.append(self.model_of, model)
            self.memory_of = np.append(self.memory_of, kind.memory_bytes)
        return found

    def wanted(self, request: ResourceRequest, gpu_type: str = "") -> tuple[int, ...]:
        """Return the kinds that the request takes, or of these the ones of one GPU type."""
        return tuple(number for number in range(1, len(self.all)) if self._takes(request, self.all[number], gpu_type))

    @staticmethod
    def _takes(request: ResourceRequest, kind: Kind, gpu_type: str) -> bool:
        return (
            kind.mig_profile == request.mig_profile
            and (not gpu_type or kind.gpu_type == gpu_type)
            and (not request.gpu_types or kind.gpu_type in request.gpu_types)
            and kind.gpu_type not in request.exclude_gpu_types
            and kind.memory_bytes >= request.min_gpu_memory_bytes
        )

    def types_of(self, numbers: tuple[int, ...]) -> tuple[str, ...]:
        """Return the GPU types of these kinds, sorted."""
        return tuple(sorted({self.all[number].gpu_type for number in numbers}))

    def mask(self, numbers: tuple[int, ...]) -> Bools:
        """Return for each kind whether it is one of these."""
        found = np.zeros(len(self.all), dtype=np.bool_)
        found[list(numbers)] = True
        return found

    def share_memory(self, milli: int, share_memory_bytes: int) -> Ints:
        """Return for each kind the GPU memory that goes with a part of it."""
        if milli >= WHOLE_GPU_MILLI:
            return self.memory_of
        if share_memory_bytes:
            return np.full(len(self.all), share_memory_bytes, dtype=np.int64)
        shares: Ints = self.memory_of * milli // WHOLE_GPU_MILLI
        return shares
