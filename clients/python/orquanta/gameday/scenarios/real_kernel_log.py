"""The machine's own kernel log instead of a stand-in."""

from orquanta.gameday import kernel, local
from orquanta.gameday.fleet import FleetError, Host
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, rungs
from orquanta.types.incidents import IncidentState

_GPUS = 16
_LAST = 15
"""Few hosts have a GPU at the address of this one, so that nobody else on the machine takes the line for their own."""


async def _play(stage: Stage) -> None:
    async with kernel.kmsg_alone():
        (deaf,) = await stage.add_hosts(1, f"{_GPUS}xL4")
        host = await stage.fleet.add_host(
            stage.admin,
            "real-kernel-log",
            f"{_GPUS}xL4",
            settings={"kernel_log": str(kernel.KMSG), "canary_seconds": "1", "allow_kmsg_injection": "true"},
        )
        # A daemon reads the log from the line on that comes after its start, which it may reach after it has joined.
        await stage.until("the host reads the kernel log", lambda: _reads(host))
        gpu = await stage.gpu(host, _LAST)
        await stage.print(host, kernel.xid(gpu, 119, "Timeout after 6s of waiting for RPC response from GPU0 GSP!"))
        incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, seconds=90)
        stage.expect("the incident is resolved", incident.state is IncidentState.RESOLVED, incident.status_reason)
        stage.expect("it is about that GPU", incident.gpu_uuids == (gpu.uuid,), ", ".join(incident.gpu_uuids))
        climbed = rungs([incident])
        stage.expect("the GPU was reset once", climbed == ["reset_gpu succeeded"], ", ".join(climbed))
        await stage.serves_again(host)
        await stage.no_repair(deaf, "for it does not read that log")


async def _reads(host: Host) -> bool:
    try:
        return bool((await local.status(host))["kernel_log"] == "read")
    except FleetError:  # its socket is not there yet
        return False


SCENARIO = Scenario(
    "real_kernel_log",
    "A line in the machine's own kernel log",
    "What is written into /dev/kmsg is read as it is printed, and repaired; the log of another host is not.",
    _play,
    obstacle=kernel.kmsg_obstacle,
)
