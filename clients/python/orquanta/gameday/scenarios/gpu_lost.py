"""A GPU falls off the bus under a job."""

from orquanta.gameday import kernel
from orquanta.gameday.scenarios.scenario import Scenario, start_work
from orquanta.gameday.stage import Stage, rungs
from orquanta.types.incidents import IncidentState

_GPUS = 2


async def _play(stage: Stage) -> None:
    await stage.add_hosts(2, f"{_GPUS}xH100")
    work = await start_work(stage, _GPUS)
    host = await work.host()
    gpu = await stage.gpu(host)
    await stage.inject(host, "gpu_lost")
    await stage.print(host, kernel.xid(gpu, 79, "GPU has fallen off the bus."))
    await stage.incident(host)
    job = await work.runs(epoch=2)
    elsewhere = job.allocations[-1].members[0].node_id
    stage.expect("the job goes on, on another host", elsewhere != host.node_id, elsewhere)
    incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, seconds=90)
    stage.expect("the incident is resolved", incident.state is IncidentState.RESOLVED, incident.status_reason)
    climbed = rungs([incident])
    stage.expect("one reboot has brought the GPU back", climbed == ["reboot_host succeeded"], ", ".join(climbed))
    told = {one.code for one in incident.conditions}
    stage.expect("the incident cites XID 79 once, not each sign of it", len(told) == 1, f"{len(incident.conditions)}")
    await stage.serves_again(host)
    await work.ends_well()


SCENARIO = Scenario(
    "gpu_lost",
    "A GPU falls off the bus under a job",
    "The job goes on elsewhere, the host is rebooted and verified, and takes jobs again.",
    _play,
)
