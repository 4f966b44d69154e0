"""Memory errors: a remap that a reset completes, then one that fails for good."""

import json

from orquanta.gameday import kernel
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, rungs
from orquanta.types.incidents import IncidentState
from orquanta.types.nodes import NodeState
from orquanta.types.repairs import RepairRung

_STORM = 40


async def _play(stage: Stage) -> None:
    (host,) = await stage.add_hosts(1)
    gpu = await stage.gpu(host)
    await stage.inject(host, "row_remap_pending", value=1)
    double_bit = kernel.xid(
        gpu, 48, "An uncorrectable double bit error (DBE) has been detected on GPU in the framebuffer"
    )
    await stage.print(host, *([double_bit] * _STORM), kernel.xid(gpu, 63, "Row Remapper: New row marked for remapping"))
    incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, seconds=90)
    stage.expect("the incident is resolved", incident.state is IncidentState.RESOLVED, incident.status_reason)
    climbed = rungs([incident])
    stage.expect("one reset has remapped the row", climbed == ["reset_gpu succeeded"], ", ".join(climbed))
    await stage.serves_again(host)

    await stage.inject(host, "row_remap_failed", value=1)
    await stage.print(host, kernel.xid(gpu, 64, "Row Remapper: Failed to remap row"))
    incident = await stage.incident(host, IncidentState.ESCALATED, count=2)
    await stage.becomes(host, NodeState.QUARANTINED)

    async def handed_off() -> bool:
        repairs = (await stage.admin.incidents.get(incident.id)).repairs
        return any(one.rung is RepairRung.QUARANTINE and one.handoff_json for one in repairs)

    await stage.until("a hand-off report is written", handed_off)
    repairs = (await stage.admin.incidents.get(incident.id)).repairs
    report = json.loads(next(one.handoff_json for one in repairs if one.handoff_json))
    stage.expect("it names the board to replace", gpu.serial in json.dumps(report), json.dumps(report)[:200])
    mended = [one for one in rungs([incident]) if one.endswith("succeeded") and not one.startswith("quarantine")]
    stage.expect("no repair claims to have mended it", not mended, ", ".join(mended))


SCENARIO = Scenario(
    "ecc_row_remap",
    "Memory errors: a row to remap, then one that cannot be",
    "A storm of double-bit errors is one incident; a reset completes the remap. A failed remap ends in quarantine, "
    "with the serial number for the vendor.",
    _play,
)
