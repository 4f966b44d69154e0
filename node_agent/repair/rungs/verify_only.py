"""VERIFY: no repair, only the test under load."""

from node_agent.health.model import Rung
from node_agent.repair.ports import RepairGpu
from node_agent.repair.rungs.rung import Conclusion, Precondition, Scope
from node_agent.repair.work import Work, names

_MAXIMUM_RESUMES = 2


class VerifyOnly:
    """Tests GPUs as after a repair. GPUs with a job are looked at but not loaded."""

    rung = Rung.VERIFY
    timeout_seconds = 1_200.0

    def touched(self, work: Work) -> tuple[RepairGpu, ...] | None:
        """The GPUs under test, so that no job comes in the midst; jobs that are there stay."""
        return work.targets()

    async def preconditions(self, work: Work) -> list[Precondition]:
        """The GPUs are this host's."""
        unknown = set(work.order.gpu_uuids) - {gpu.uuid for gpu in work.targets()}
        detail = f"unknown: {', '.join(sorted(unknown))[:200]}" if unknown else "known"
        return [Precondition("the GPUs are this host's", not unknown, detail)]

    async def plan(self, work: Work) -> list[str]:
        """Verify."""
        return [f"verify {names(work.targets()) or 'the host, which has no GPUs'} under load"]

    async def carry_out(self, work: Work) -> None:
        """Nothing is done; the verification that follows is all."""

    async def conclude(self, work: Work) -> Conclusion:
        """It can be done again, but not for ever."""
        again = work.entry.resumes <= _MAXIMUM_RESUMES
        message = "it was cut off and done again" if again else "the daemon ended again and again in the midst of it"
        return Conclusion(verify=again, message=message)

    def scope(self, work: Work) -> Scope:
        """What was ordered, under load."""
        return Scope(work.targets(), load=True)
