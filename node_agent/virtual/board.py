"""The faults that virtual GPUs have now: put in, cured by repairs, and kept on disk.

On disk, because a fault of hardware outlives the processes that look at it: neither a probe that is killed because a
call hangs, nor a daemon that is upgraded, nor a simulated reboot may cure what only the right repair cures.
"""

import json
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Final

import pynvml

from node_agent.virtual.device import EFFECTIVE_ERRORS, VirtualGpu
from node_agent.virtual.events import VirtualEvent
from node_agent.virtual.fault import BadFault, VirtualFault, VirtualRepair
from node_agent.virtual.fault import VirtualFaultKind as Kind
from node_agent.virtual.host import VirtualHost
from node_agent.virtual.library import FAULTABLE_SYMBOLS

MAXIMUM_FAULTS: Final = 100
"""The bound on faults of one GPU, cured ones that left traces included."""
_NVLINK_5: Final = 5


@dataclass(slots=True)
class _Record:
    """One fault; once cured, it is kept only for the traces that it leaves, such as counts over the GPU's life."""

    fault: VirtualFault
    left: int
    """Of a hang: how many more times; 0 if until cured."""
    cured: bool = False


class FaultBoard:
    """Keeps the faults of one virtual host. Safe to use from any thread."""

    def __init__(self, host: VirtualHost, path: str | None = None) -> None:
        """Take up the faults that `path` holds, if it exists; what cannot be read there is no fault."""
        self._host = host
        self._path = path
        self._lock = threading.RLock()
        self._records: list[_Record] = []
        for gpu in host.gpus:
            gpu.faults.on_hang = self._hangs(gpu)
        for record in _load(path):
            try:
                self._check(record.fault)
            except BadFault:  # of another set of GPUs
                continue
            self._records.append(record)
        for gpu in host.gpus:
            self._apply_all(gpu)

    def active(self, gpu_uuid: str) -> tuple[VirtualFault, ...]:
        """Return the faults of one GPU that are not cured."""
        with self._lock:
            return tuple(
                record.fault for record in self._records if record.fault.gpu_uuid == gpu_uuid and not record.cured
            )

    def inject(self, fault: VirtualFault) -> None:
        """Put in a fault.

        Raises:
            BadFault: this GPU cannot have it.
        """
        with self._lock:
            gpu = self._check(fault)
            if fault.kind is Kind.XID:
                for _ in range(fault.times):
                    self._host.events.post(VirtualEvent(gpu.uuid, pynvml.nvmlEventTypeXidCriticalError, fault.value))
                return
            if sum(record.fault.gpu_uuid == fault.gpu_uuid for record in self._records) >= MAXIMUM_FAULTS:
                raise BadFault(f"{gpu.uuid} has {MAXIMUM_FAULTS} faults already: repair or clear it first")
            record = _Record(fault, fault.times if fault.kind is Kind.HANG else 0)
            self._records.append(record)
            self._save()
            _APPLY[fault.kind](gpu, record)

    def repair(self, repair: VirtualRepair, gpu_uuids: Collection[str] = ()) -> str:
        """Do to GPUs what a repair does, to all of them if none is named; say for a person what is cured and what not.

        A GPU that stays lost is out of reach of the repair: nothing of it is cured.
        """
        everything = repair is not VirtualRepair.GPU_RESET or not gpu_uuids
        with self._lock:
            chosen = [gpu for gpu in self._host.gpus if everything or gpu.uuid in gpu_uuids]
            told = [self._repair_one(gpu, repair) for gpu in chosen]
            self._save()
        return "; ".join(told)

    def clear(self, gpu_uuids: Collection[str] = ()) -> None:
        """Forget all faults of these GPUs and their traces, or of all GPUs."""
        with self._lock:
            chosen = [gpu for gpu in self._host.gpus if not gpu_uuids or gpu.uuid in gpu_uuids]
            names = {gpu.uuid for gpu in chosen}
            self._records = [record for record in self._records if record.fault.gpu_uuid not in names]
            self._save()
            for gpu in chosen:
                self._apply_all(gpu)

    def _repair_one(self, gpu: VirtualGpu, repair: VirtualRepair) -> str:
        mine = [record for record in self._records if record.fault.gpu_uuid == gpu.uuid and not record.cured]
        lost = any(record.fault.kind is Kind.GPU_LOST and record.fault.cure > repair for record in mine)
        cured = [] if lost else [record for record in mine if record.fault.cure <= repair]
        remaining = [record.fault.kind.value for record in mine if record not in cured]
        for record in cured:
            record.cured = True
        self._records = [record for record in self._records if not record.cured or record.fault.kind in _TRACES]
        self._apply_all(gpu)
        words = ", ".join(record.fault.kind.value for record in cured) or "nothing"
        left = f", still there: {', '.join(remaining)}" if remaining else ""
        return f"{gpu.uuid}: cured {words}{left}"

    def _apply_all(self, gpu: VirtualGpu) -> None:
        gpu.restore()
        for record in self._records:
            if record.fault.gpu_uuid == gpu.uuid:
                (_TRACES if record.cured else _APPLY)[record.fault.kind](gpu, record)

    def _check(self, fault: VirtualFault) -> VirtualGpu:
        fault.check()
        try:
            gpu = self._host.by_uuid(fault.gpu_uuid)
        except KeyError:
            raise BadFault(f"this host has no GPU {fault.gpu_uuid!r}: name one of its virtual GPUs") from None
        link = {Kind.NVLINK_DOWN: fault.value, Kind.NVLINK_ERRORS: fault.link}.get(fault.kind)
        if link is not None and link >= len(gpu.links):
            raise BadFault(f"{gpu.model.key} has {len(gpu.links)} NVLinks, numbered from 0: there is no {link}")
        if fault.kind is Kind.HANG and fault.call not in FAULTABLE_SYMBOLS:
            raise BadFault(f"no GPU call {fault.call!r}: name a C function such as nvmlDeviceGetPowerUsage")
        return gpu

    def _hangs(self, gpu: VirtualGpu) -> Callable[[str], None]:
        def hang_begins(symbol: str) -> None:
            with self._lock:
                for record in self._records:
                    fault = record.fault
                    if fault.kind is Kind.HANG and fault.gpu_uuid == gpu.uuid and fault.call == symbol and record.left:
                        record.left -= 1
                        if not record.left:
                            self._records.remove(record)
                        self._save()
                        return

        return hang_begins

    def _save(self) -> None:
        if self._path is None:
            return
        records = [
            [*_fields(replace(record.fault, cured_by=record.fault.cure)), record.left, record.cured]
            for record in self._records
        ]
        draft = f"{self._path}.draft"
        # pathlib would cost the probe 1 MB.
        with open(draft, "w", encoding="utf-8") as file:  # noqa: PTH123 - see above
            json.dump(records, file)
        os.replace(draft, self._path)  # noqa: PTH105 - see above


def _fields(fault: VirtualFault) -> list[Any]:
    # Any: texts and numbers, as JSON holds them.
    return [fault.kind.value, fault.gpu_uuid, fault.value, fault.times, fault.link, fault.call, fault.cure.value]


def fault_of(fields: Any) -> VirtualFault:
    """Return the fault that a list of its fields in order describes. Any: it comes from JSON.

    Raises:
        BadFault: it describes none.
    """
    try:
        kind, gpu_uuid, value, times, link, call, cure = fields
        numbers = (int(value), int(times), int(link))
        cured_by = None if cure is None else VirtualRepair(cure)
        return VirtualFault(Kind(kind), str(gpu_uuid), *numbers, str(call), cured_by)
    except (ValueError, TypeError) as error:
        raise BadFault(f"{str(fields)[:200]} is no fault") from error


def _load(path: str | None) -> list[_Record]:
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - see `_save`
            found = json.load(file)
        return [_Record(fault_of(entry[:-2]), int(entry[-2]), bool(entry[-1])) for entry in found]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _ecc(error_type: int, gpu: VirtualGpu, record: _Record) -> None:
    location = pynvml.NVML_MEMORY_LOCATION_DRAM
    count = record.fault.value * record.fault.times
    errors = gpu.memory_errors
    for counts in (errors.aggregate,) if record.cured else (errors.aggregate, errors.volatile):
        counts[error_type, location] = counts.get((error_type, location), 0) + count


def _ecc_corrected(gpu: VirtualGpu, record: _Record) -> None:
    _ecc(pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, gpu, record)


def _ecc_uncorrected(gpu: VirtualGpu, record: _Record) -> None:
    _ecc(pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, gpu, record)


def _remap(gpu: VirtualGpu, record: _Record) -> None:
    gpu.repairs.uncorrectable += record.fault.value
    gpu.repairs.pending |= not record.cured


def _remap_failed(gpu: VirtualGpu, record: _Record) -> None:
    gpu.repairs.uncorrectable += record.fault.value
    gpu.repairs.failed = True


def _nvlink_errors(gpu: VirtualGpu, record: _Record) -> None:
    errors = gpu.links[record.fault.link].errors
    counter = EFFECTIVE_ERRORS if gpu.model.nvlink_version >= _NVLINK_5 else pynvml.NVML_NVLINK_ERROR_DL_CRC_FLIT
    errors[counter] = errors.get(counter, 0) + record.fault.value * record.fault.times


def _nvlink_down(gpu: VirtualGpu, record: _Record) -> None:
    gpu.links[record.fault.value].active = False


def _pcie_width(gpu: VirtualGpu, record: _Record) -> None:
    gpu.pcie_width = record.fault.value


def _pcie_replays(gpu: VirtualGpu, record: _Record) -> None:
    gpu.pcie_replays += record.fault.value * record.fault.times


def _recovery_action(gpu: VirtualGpu, record: _Record) -> None:
    gpu.recovery_action = record.fault.value


_APPLY: Final[dict[Kind, Callable[[VirtualGpu, _Record], None]]] = {
    Kind.ECC_CORRECTED: _ecc_corrected,
    Kind.ECC_UNCORRECTED: _ecc_uncorrected,
    Kind.ROW_REMAP_PENDING: _remap,
    Kind.ROW_REMAP_FAILED: _remap_failed,
    Kind.GPU_LOST: lambda gpu, _: gpu.faults.lose(),
    Kind.HANG: lambda gpu, record: gpu.faults.hang(record.fault.call, record.fault.value, times=record.left or None),
    Kind.THERMAL: lambda gpu, record: gpu.override_temperature(record.fault.value),
    Kind.NVLINK_DOWN: _nvlink_down,
    Kind.NVLINK_ERRORS: _nvlink_errors,
    Kind.PCIE_WIDTH: _pcie_width,
    Kind.PCIE_REPLAYS: _pcie_replays,
    Kind.RECOVERY_ACTION: _recovery_action,
}

_TRACES: Final[dict[Kind, Callable[[VirtualGpu, _Record], None]]] = {
    Kind.ECC_CORRECTED: _ecc_corrected,
    Kind.ECC_UNCORRECTED: _ecc_uncorrected,
    Kind.ROW_REMAP_PENDING: _remap,
}
"""What stays of a cured fault: errors and remapped rows are counted over the GPU's life."""
