"""The daemon is killed in the midst of a GPU reset."""

import asyncio

from orquanta.gameday import kernel, local
from orquanta.gameday.fleet import FleetError, Host
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, rungs
from orquanta.gameday.tools import PERSISTENCED, Tools
from orquanta.types.incidents import IncidentState


async def _play(stage: Stage) -> None:
    tools = Tools(stage.fleet.directory / "tools")
    tools.hold_resets()
    (host,) = await stage.add_hosts(1, settings={"tools_dir": str(tools.directory)})
    gpu = await stage.gpu(host)
    starter = await asyncio.create_subprocess_exec(str(tools.directory / "systemctl"), "start", "--", PERSISTENCED)
    await starter.wait()
    await stage.print(host, kernel.xid(gpu, 119, "Timeout after 6s of waiting for RPC response from GPU0 GSP!"))

    async def resetting() -> bool:
        return tools.count("nvidia-smi --gpu-reset") == 1

    await stage.until("the GPU is being reset", resetting)
    stage.expect("the service that held the GPU was stopped for it", not tools.serves(PERSISTENCED))
    host.daemon.kill()
    stage.note(f"{host.name}: its daemon is killed with the reset under way")
    host.daemon.start()
    await stage.until("the next daemon is there, and the reset goes on", lambda: _is_there(host))
    tools.let_resets_end()
    incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, seconds=90)
    stage.expect("the incident is resolved", incident.state is IncidentState.RESOLVED, incident.status_reason)
    climbed = rungs([incident])
    stage.expect("the same repair was finished", climbed == ["reset_gpu succeeded"], ", ".join(climbed))
    stage.expect("the service runs again", tools.serves(PERSISTENCED), "; ".join(tools.calls))
    for what, call in (
        ("reset", "nvidia-smi --gpu-reset"),
        ("stopped", "systemctl stop"),
        ("started", "systemctl start"),
    ):
        times = tools.count(call) - (call == "systemctl start")  # the first start was ours
        stage.expect(f"nothing was {what} twice", times == 1, "; ".join(tools.calls))
    await stage.serves_again(host)


async def _is_there(host: Host) -> bool:
    try:
        return bool(await local.status(host))
    except FleetError:  # its socket is not there yet
        return False


SCENARIO = Scenario(
    "daemon_killed",
    "The daemon is killed during a GPU reset",
    "The next daemon waits for the reset, starts again what was stopped, verifies, and does nothing twice.",
    _play,
)
