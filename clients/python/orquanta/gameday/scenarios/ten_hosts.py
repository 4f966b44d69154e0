"""Ten hosts break at once."""

import asyncio

from orquanta.gameday import kernel
from orquanta.gameday.scenarios.scenario import Scenario, start_work
from orquanta.gameday.stage import Stage, rungs
from orquanta.types.incidents import IncidentState

_HOSTS = 10
_RACKS = 5
_BOUND = 3
_PATIENCE_SECONDS = 240.0


async def _play(stage: Stage) -> None:
    hosts = await stage.add_hosts(_HOSTS, "1xL4", racks=_RACKS)
    work = await start_work(stage, 1, "L4")
    await work.runs()
    gpus = {host.name: await stage.gpu(host) for host in hosts}
    text = "Timeout after 6s of waiting for RPC response from GPU0 GSP!"
    await asyncio.gather(
        *(kernel.print_lines(host.kernel_log, [kernel.xid(gpus[host.name], 119, text)]) for host in hosts)
    )
    stage.note(f"{_HOSTS} hosts have a GPU that needs a reset, at once")

    async def all_open() -> bool:
        return sum([1 async for _ in stage.admin.incidents.list(page_size=100)]) == _HOSTS

    await stage.until("each has an incident", all_open)

    async def told() -> bool:
        waiting = [one async for one in stage.admin.incidents.list(states=[IncidentState.OPEN], page_size=100)]
        return any("out of service" in one.status_reason for one in waiting)

    await stage.until("those that wait say for what", told)

    async def all_done() -> bool:
        found = [one async for one in stage.admin.incidents.list(page_size=100)]
        return all(one.state.ended for one in found)

    await stage.until("all incidents have ended", all_done, seconds=_PATIENCE_SECONDS)
    for host in hosts:
        climbed = rungs(await stage.incidents(host))
        stage.expect(f"{host.name} was reset once", climbed == ["reset_gpu succeeded"], ", ".join(climbed))
    await stage.serves_again(*hosts)
    full = max(stage.levels.rack_most.values(), default=0)
    stage.expect("at no moment more than 1 out of service in a rack", full <= 1, str(stage.levels.rack_most))
    await work.ends_well()


SCENARIO = Scenario(
    "ten_hosts",
    f"{_HOSTS} hosts break at once, {_BOUND} may be out of service",
    "At no moment more than the bound are out of service, in the fleet and in each rack; in the end all are repaired.",
    _play,
    settings={"out_of_service_fleet": f"{_BOUND}, 100%", "out_of_service_rack": "1, 50%"},
    most_out=_BOUND,
)
