"""The control plane is away while hosts break."""

from orquanta.gameday import kernel, local
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, alone, rungs
from orquanta.types.incidents import IncidentState
from orquanta.types.repairs import RepairOrigin
from orquanta.v1 import repair_pb2

_ALLOWED = 1
_TEXT = "Timeout after 6s of waiting for RPC response from GPU0 GSP!"


async def _play(stage: Stage) -> None:
    (host,) = await stage.add_hosts(1)
    first, second = (await stage.gpu(host), await stage.gpu(host, 1))

    async def has_policy() -> bool:
        return "version" in str((await local.status(host))["policy"])

    await stage.until("the host holds a signed policy", has_policy)
    stage.fleet.control_plane.kill()
    stage.note("the control plane is killed")
    await stage.print(host, kernel.xid(first, 119, _TEXT))

    async def repaired() -> bool:
        done = await local.repairs(host)
        return any(one.state == repair_pb2.REPAIR_STATE_SUCCEEDED for one in done)

    await stage.until("the host has repaired itself", repaired)
    await stage.print(host, kernel.xid(second, 119, _TEXT))

    async def noticed() -> bool:
        return any(one.gpu_uuid == second.uuid for one in await local.conditions(host))

    await stage.until("it sees the second fault", noticed)
    done = await local.repairs(host)
    stage.expect(f"it has used its {_ALLOWED} repair a day, and no more", len(done) == _ALLOWED, f"{len(done)} done")
    told = len(await local.events(host))

    await stage.fleet.start_control_plane()
    stage.note("the control plane is back")

    async def ended() -> bool:
        found = await stage.incidents(host)
        gpus = {gpu for one in found for repair in one.repairs for gpu in repair.gpu_uuids}
        return bool(found) and all(one.state.ended for one in found) and {first.uuid, second.uuid} <= gpus

    await stage.until("both faults are repaired, and in the books", ended, seconds=120)
    incidents = await stage.incidents(host)
    by_host = [one for incident in incidents for one in incident.repairs if one.origin is RepairOrigin.LOCAL_POLICY]
    stage.expect("what the host did alone is in the books once", len(by_host) == _ALLOWED, ", ".join(rungs(incidents)))
    stage.expect("its incident says so", any(alone(one) for one in incidents))
    audited = [record async for record in stage.admin.audit.list(node_id=host.node_id, page_size=500)]
    local_records = [record for record in audited if record.action == "repair.local"]
    stage.expect("the audit has it once", len(local_records) == _ALLOWED, f"{len(local_records)} records")
    states = {one.state for one in incidents}
    stage.expect("all incidents are resolved", states == {IncidentState.RESOLVED}, ", ".join(map(str, states)))
    stage.note(f"{told} events waited on the host while it was alone")

    async def nothing_waits() -> bool:
        state = (await local.status(host))["spool_state"]
        return bool(state["last"] == state["acknowledged"])

    await stage.until("nothing waits in the host's spool", nothing_waits)
    await stage.serves_again(host)


SCENARIO = Scenario(
    "control_plane_away",
    "The control plane is away during a fault",
    "The host repairs itself as often as its signed policy allows, and no more; later all of it is in the books once.",
    _play,
    settings={"local_repair_after_seconds": "1", "local_repairs": f"reset-gpu:{_ALLOWED}"},
)
