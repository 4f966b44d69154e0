"""RESTART_SERVICE: one service of the fixed list, by systemctl."""

from typing import Final

from node_agent.health.model import Rung
from node_agent.repair.arguments import FABRIC_MANAGER, service
from node_agent.repair.errors import BadArgument, StepFailed
from node_agent.repair.journal import Undo, UndoKind
from node_agent.repair.ports import RepairGpu
from node_agent.repair.rungs import clearing
from node_agent.repair.rungs.rung import Conclusion, Precondition, Scope
from node_agent.repair.toolbox import Action
from node_agent.repair.work import Work

JOB_BEARING: Final = frozenset({FABRIC_MANAGER, "nvidia-imex.service"})
"""Services whose end takes running jobs with it."""


class RestartService:
    """Restarts a service. Jobs are spared, but for the services that carry them."""

    rung = Rung.RESTART_SERVICE
    timeout_seconds = 400.0

    def touched(self, work: Work) -> tuple[RepairGpu, ...] | None:
        """The whole host for services that carry jobs, else nothing."""
        return None if f"{work.order.service.removesuffix('.service')}.service" in JOB_BEARING else ()

    async def preconditions(self, work: Work) -> list[Precondition]:
        """The service is on the list and installed, and no job depends on it."""
        try:
            name = service(work.order.service)
        except BadArgument as error:
            return [Precondition("the service may be restarted", False, str(error))]
        missing = work.parts.hands.missing(Action.RESTART_SERVICE)
        if missing:
            return [Precondition("systemctl is there", False, missing)]
        state = await work.parts.hands.service_state(name, repair_id=work.order.id)
        found = [Precondition(f"{name} is installed", state.loaded, state.text)]
        if name in JOB_BEARING:
            found.append(clearing.no_jobs(work, None))
        return found

    async def plan(self, work: Work) -> list[str]:
        """Restart, look, verify."""
        name = service(work.order.service)
        jobs = clearing.affected_jobs(work, None) if name in JOB_BEARING else ()
        return [
            *(f"stop job {job.job_id}" for job in jobs),
            work.parts.hands.describe(Action.RESTART_SERVICE, name),
            f"see that {name} is active",
            "verify",
        ]

    async def carry_out(self, work: Work) -> None:
        """Restart it and see that it is active."""
        name = service(work.order.service)
        if name in JOB_BEARING:
            await clearing.stop_affected_jobs(work, None)
        await work.step(
            f"restart {name}",
            lambda: work.parts.hands.do(Action.RESTART_SERVICE, name, repair_id=work.order.id),
            undo=Undo(UndoKind.START_SERVICE, name),
            settled=True,
        )
        await work.step(f"see that {name} is active", lambda: _see(work, name))

    async def conclude(self, work: Work) -> Conclusion:
        """The undo has started it; what it is now decides."""
        name = service(work.order.service)
        if not work.record.steps and not work.entry.begun:
            return Conclusion(verify=False, message=f"it was cut off before {name} was restarted; nothing was done")
        state = await work.parts.hands.service_state(name, repair_id=work.order.id)
        return Conclusion(verify=state.active, message=f"it was cut off; {state.text}")

    def scope(self, work: Work) -> Scope:
        """All GPUs; under load if the service carries jobs."""
        return Scope(tuple(work.parts.hardware.gpus()), load=self.touched(work) is None)


async def _see(work: Work, name: str) -> str:
    state = await work.parts.hands.service_state(name, repair_id=work.order.id)
    if not state.active:
        raise StepFailed(f"{state.text}: see journalctl --unit {name}")
    return state.text
