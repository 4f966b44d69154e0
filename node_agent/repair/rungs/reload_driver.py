"""RELOAD_DRIVER: everybody off all GPUs, the driver's modules out in order, and in again."""

from node_agent.health.model import Rung
from node_agent.repair.arguments import MODULES
from node_agent.repair.errors import StepFailed
from node_agent.repair.journal import ACTED, Undo, UndoKind
from node_agent.repair.ports import RepairGpu
from node_agent.repair.rungs import clearing
from node_agent.repair.rungs.reset_gpu import conclusion
from node_agent.repair.rungs.rung import Conclusion, Precondition, Scope
from node_agent.repair.toolbox import Action
from node_agent.repair.work import Work


class ReloadDriver:
    """Unloads and loads the driver. Loading is the undo of unloading, so that a cut leaves no host without driver."""

    rung = Rung.RELOAD_DRIVER
    timeout_seconds = 1_200.0

    def touched(self, work: Work) -> tuple[RepairGpu, ...] | None:  # noqa: ARG002 - the rung's shape
        """The whole host."""
        return None

    async def preconditions(self, work: Work) -> list[Precondition]:
        """No job is on the host, who holds any device can be stopped, and the driver is a module."""
        missing = work.parts.hands.missing(Action.UNLOAD_MODULE)
        loaded = loaded_modules(work)
        return [
            Precondition("modprobe is there", not missing, missing or "found"),
            Precondition(
                "the driver is loaded as a module",
                "nvidia" in loaded,
                ", ".join(loaded) or "nvidia is not in /proc/modules: load it by hand and look at the kernel log",
            ),
            clearing.no_jobs(work, None),
            *await clearing.only_known_holders(work, None),
        ]

    async def plan(self, work: Work) -> list[str]:
        """Clear, unload, load, start again, verify."""
        describe, loaded = work.parts.hands.describe, loaded_modules(work)
        return [
            *await clearing.clearing_plan(work, None),
            *(describe(Action.UNLOAD_MODULE, name) for name in loaded),
            *(describe(Action.LOAD_MODULE, name) for name in reversed(loaded)),
            "start again what was stopped, in reverse order",
            "verify under load",
        ]

    async def carry_out(self, work: Work) -> None:
        """Clear and unload; the undo loads."""
        await clearing.clear(work, None)
        loaded = loaded_modules(work)
        if "nvidia" not in loaded:
            raise StepFailed("the driver is no longer loaded: look at the kernel log")
        for name in loaded:
            last = name == "nvidia"
            await work.step(
                f"unload {name}",
                lambda name=name: work.parts.hands.do(Action.UNLOAD_MODULE, name, repair_id=work.order.id),  # type: ignore[misc] # the default binds the loop's value
                undo=Undo(UndoKind.LOAD_MODULE, name),
                marks={ACTED: "begun"} if last else None,
                done={ACTED: "done"} if last else None,
            )

    async def conclude(self, work: Work) -> Conclusion:
        """The modules have been loaded again by the undo; the state of the GPUs decides."""
        return conclusion(work, "unloading the driver")

    def scope(self, work: Work) -> Scope:
        """All GPUs, under load."""
        return Scope(tuple(work.parts.hardware.gpus()), load=True)


def loaded_modules(work: Work) -> tuple[str, ...]:
    """Return the driver's modules that are loaded, in the order in which they are unloaded."""
    if work.parts.hardware.virtual is not None:
        return ("nvidia_uvm", "nvidia")
    try:
        lines = work.parts.limits.modules_file.read_text("ascii", errors="replace").splitlines()
    except OSError:
        return ()
    found = {line.partition(" ")[0] for line in lines}
    return tuple(name for name in MODULES if name in found)
