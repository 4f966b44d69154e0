"""A real control plane and a real host with virtual GPUs: what failed before on such a fault is not tried first."""

from datetime import UTC, datetime, timedelta

import pytest

from orquanta.gameday import kernel
from orquanta.gameday.play import play
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, rungs
from orquanta.types.incidents import IncidentState
from orquanta.types.memories import Memory, MemoryAction, MemoryKind, MemoryOutcome

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(300)]

MEMORY = Memory(
    id="m-7zk3m09qv2xa",
    tenant="",
    kind=MemoryKind.INCIDENT,
    text="Fault xid:119 on gpu-a-1 (8x H100): reset_gpu failed, then reload_driver fixed it; resolved.",
    symptoms=("xid:119",),
    root_cause="xid:119",
    actions=(
        MemoryAction("reset_gpu", MemoryOutcome.FAILED),
        MemoryAction("reload_driver", MemoryOutcome.FIXED),
    ),
    outcome=MemoryOutcome.FIXED,
    gpu_type="H100",
    node_class="8x H100",
    evidence_ids=(),
    source="i-7zk3m09qv2xa",
    created_at=datetime.now(UTC) - timedelta(days=1),
    expires_at=datetime.now(UTC) + timedelta(days=90),
    last_used_at=None,
    uses=0,
    count=2,
    fixed_count=2,
)


async def _remembered_failure(stage: Stage) -> None:
    done = await stage.admin.memories.import_([MEMORY])
    stage.expect("the memory was taken in", done.added == 1)
    (host,) = await stage.add_hosts(1)
    gpu = await stage.gpu(host)
    line = kernel.xid(gpu, 119, "Timeout after 6s of waiting for RPC response from GPU0 GSP!", pid=1234, name="python")
    await stage.print(host, line)
    incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, seconds=90)
    climbed = rungs(await stage.incidents(host))
    stage.expect("the rung that had failed was passed over", climbed == ["reload_driver succeeded"], ", ".join(climbed))
    whole = await stage.admin.incidents.get(incident.id)
    told = [entry.message for entry in whole.entries if entry.kind == "remembered"]
    stage.expect("the incident says why", len(told) == 1 and MEMORY.id in told[0], str(told))
    kept = await stage.admin.memories.get(MEMORY.id)
    stage.expect("the memory was used", kept.uses > 0)


async def test_a_repair_that_failed_before_is_not_tried_first_on_a_real_host() -> None:
    said: list[str] = []
    scenario = Scenario(
        "remembered", "A fault that is remembered", "Memory changes the first rung.", _remembered_failure
    )
    day = await play(scenario, said.append)
    if day.skipped:
        pytest.skip(day.skipped)
    assert len(day.findings) >= 4
    assert day.held, "\n".join(said)
