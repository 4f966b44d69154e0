"""A fault that comes back after each repair."""

from orquanta.gameday import kernel
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, rungs
from orquanta.types.incidents import IncidentState
from orquanta.types.nodes import NodeState

_REPAIRS = 2
_ENOUGH = 5


async def _play(stage: Stage) -> None:
    (host,) = await stage.add_hosts(1)
    gpu = await stage.gpu(host)
    line = kernel.xid(gpu, 119, "Timeout after 6s of waiting for RPC response from GPU0 GSP!", pid=1234, name="python")
    for number in range(1, _ENOUGH):
        await stage.print(host, line)
        incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, count=number, seconds=90)
        if incident.state is IncidentState.ESCALATED:
            break
        await stage.becomes(host, NodeState.READY)
    incidents = await stage.incidents(host)
    stage.expect("it was escalated", incidents[0].state is IncidentState.ESCALATED, incidents[0].status_reason)
    await stage.becomes(host, NodeState.QUARANTINED)
    resets = [one for one in rungs(incidents) if one.startswith("reset_gpu")]
    stage.expect(f"the ladder stopped after {_REPAIRS} repairs", len(resets) == _REPAIRS, ", ".join(rungs(incidents)))
    why = incidents[0].status_reason
    stage.expect("the incident says that it keeps coming back", "keeps coming back" in why, why)


SCENARIO = Scenario(
    "flapping_gpu",
    "A fault that comes back after each repair",
    "The ladder is not climbed for ever: the host is quarantined, and a person is called.",
    _play,
    settings={"repair_flaps": str(_REPAIRS)},
)
