"""The host is rebooted as a repair, and its daemon dies in the midst of it."""

import os

from orquanta.gameday import kernel
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, rungs
from orquanta.gameday.tools import Tools, missing
from orquanta.types.incidents import IncidentState
from orquanta.types.nodes import NodeState

_REBOOT_MENDS = 3


async def _play(stage: Stage) -> None:
    tools = Tools(stage.fleet.directory / "tools")
    (host,) = await stage.add_hosts(1, settings={"tools_dir": str(tools.directory)})
    tools.reboot_mends(host.state / "virtual_gpus.json")
    boot_id = (await stage.node(host)).inventory.boot_id
    gpu = await stage.gpu(host)
    await stage.inject(host, "gpu_lost", value=_REBOOT_MENDS)
    await stage.print(host, kernel.xid(gpu, 79, "GPU has fallen off the bus."))

    async def ordered() -> bool:
        return tools.count("systemctl reboot") == 1

    await stage.until("the host is told to reboot", ordered)
    host.lose_power()
    stage.note(f"{host.name}: everything on it is gone")
    host.boot()
    await stage.until("its daemon is back, in another boot", lambda: _rebooted(stage, boot_id))
    incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, seconds=90)
    stage.expect("the incident is resolved", incident.state is IncidentState.RESOLVED, incident.status_reason)
    climbed = rungs([incident])
    stage.expect("the same repair was finished", climbed == ["reboot_host succeeded"], ", ".join(climbed))
    repair = incident.repairs[0]
    passed = [check.name for check in repair.checks if check.outcome.value == "passed"]
    stage.expect("it was verified after the boot", "nvml" in passed and "canary" in passed, str(repair.checks))
    stage.expect("the host was rebooted once", tools.count("systemctl reboot") == 1, "; ".join(tools.calls))
    await stage.serves_again(host)


async def _rebooted(stage: Stage, before: str) -> bool:
    node = await stage.node(stage.fleet.hosts["host-1"])
    return node.connected and node.inventory.boot_id != before and node.state is not NodeState.LOST


def _obstacle() -> str:
    if os.geteuid() != 0:
        return "only root can show a daemon another boot"
    return missing("unshare", "mount")


SCENARIO = Scenario(
    "reboot_mid_repair",
    "A reboot in the middle of a repair",
    "The daemon of the next boot finds the unfinished repair, verifies under load, and the incident is resolved.",
    _play,
    obstacle=_obstacle,
)
