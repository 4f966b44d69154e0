"""RESET_GPU: everybody off the GPU, then `nvidia-smi --gpu-reset`, then everybody back."""

from collections.abc import Sequence
from typing import Final

from node_agent.health.model import Rung
from node_agent.repair.journal import ACTED
from node_agent.repair.ports import RepairGpu
from node_agent.repair.rungs import clearing
from node_agent.repair.rungs.rung import Conclusion, Precondition, Scope
from node_agent.repair.toolbox import Action
from node_agent.repair.work import Work, names

_AMPERE: Final = (8, 0)


def reset_group(gpus: Sequence[RepairGpu], targets: Sequence[RepairGpu]) -> tuple[RepairGpu, ...]:
    """Return the GPUs that the driver resets only together with `targets`.

    Before Ampere (compute capability 8.0) all GPUs that reach each other over NVLink are reset in one go; from Ampere
    on each can be reset by itself (manual of nvidia-smi, --gpu-reset). An unknown capability counts as the older.
    """
    chosen = {gpu.uuid for gpu in targets}
    while True:
        linked = {
            peer
            for gpu in gpus
            if gpu.uuid in chosen and (gpu.compute_capability or (0, 0)) < _AMPERE
            for peer in gpu.nvlink_peers
        }
        if linked <= chosen:
            return tuple(gpu for gpu in gpus if gpu.uuid in chosen)
        chosen |= linked


class ResetGpu:
    """Resets GPUs."""

    rung = Rung.RESET_GPU
    timeout_seconds = 900.0

    def touched(self, work: Work) -> tuple[RepairGpu, ...] | None:
        """The GPUs that are reset together."""
        return reset_group(work.parts.hardware.gpus(), work.targets())

    async def preconditions(self, work: Work) -> list[Precondition]:
        """The GPUs are known, nobody works on them, and who holds them can be stopped."""
        gpus = self._group(work)
        wanted = set(work.order.gpu_uuids)
        unknown = wanted - {gpu.uuid for gpu in gpus}
        missing = work.parts.hands.missing(Action.RESET_GPUS)
        nameless = [gpu for gpu in gpus if gpu.minor_number is None]
        found = [
            Precondition(
                "the GPUs are this host's",
                bool(gpus) and not unknown,
                f"unknown: {', '.join(sorted(unknown))[:200]}" if unknown else names(gpus) or "the host has no GPUs",
            ),
            Precondition("nvidia-smi is there", not missing, missing or "found"),
        ]
        if work.parts.hardware.virtual is None and nameless:
            detail = f"{names(nameless)} has no known device file, so who holds it cannot be told: reload the driver"
            found.append(Precondition("the device files are known", False, detail))
        if not all(condition.holds for condition in found):
            return found
        found.append(clearing.no_jobs(work, gpus))
        return found + await clearing.only_known_holders(work, gpus)

    async def plan(self, work: Work) -> list[str]:
        """Clear, reset, start again, verify."""
        gpus = self._group(work)
        clear = await clearing.clearing_plan(work, gpus)
        reset = work.parts.hands.describe(Action.RESET_GPUS, _bus_ids(gpus))
        return [*clear, reset, "start again what was stopped, in reverse order", "verify under load"]

    async def carry_out(self, work: Work) -> None:
        """Clear and reset."""
        gpus = self._group(work)
        await clearing.clear(work, gpus)
        await work.step(
            f"reset {names(gpus)}",
            lambda: work.parts.hands.do(Action.RESET_GPUS, _bus_ids(gpus), repair_id=work.order.id),
            marks={ACTED: "begun"},
            done={ACTED: "done"},
        )

    async def conclude(self, work: Work) -> Conclusion:
        """The reset is never repeated: what was begun is judged by the state of the GPU."""
        return conclusion(work, "the reset")

    def scope(self, work: Work) -> Scope:
        """All that was reset, under load."""
        return Scope(self._group(work), load=True)

    @staticmethod
    def _group(work: Work) -> tuple[RepairGpu, ...]:
        return reset_group(work.parts.hardware.gpus(), work.targets())


def conclusion(work: Work, what: str) -> Conclusion:
    """Judge a rung with one step that cannot be taken back."""
    acted = work.entry.marks.get(ACTED, "")
    if not acted:
        return Conclusion(verify=False, message=f"it was cut off before {what} began; nothing was done")
    known = "was done" if acted == "done" else "may or may not have been done"
    return Conclusion(verify=True, message=f"it was cut off; {what} {known}, and the state of the GPUs decides")


def _bus_ids(gpus: Sequence[RepairGpu]) -> list[str]:
    return [gpu.identity.pci_bus_id for gpu in gpus]
