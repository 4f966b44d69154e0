"""An NVLink goes down."""

from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, rungs
from orquanta.types.incidents import IncidentState

_LINK = 3
_SOONER = "[health]\nnvlink_down = { for_seconds = 2.0, clear_after_seconds = 2.0 }\n"
"""A link that trains again must not count; half a minute of that would be spent here for nothing."""


async def _play(stage: Stage) -> None:
    (host,) = await stage.add_hosts(1, config=_SOONER)
    gpu = await stage.gpu(host)
    await stage.inject(host, "nvlink_down", value=_LINK)
    await stage.condition(host, "NVLINK_DOWN")
    incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, seconds=90)
    stage.expect("the incident is resolved", incident.state is IncidentState.RESOLVED, incident.status_reason)
    subjects = {one.subject for one in incident.conditions}
    stage.expect("it is about that link", subjects == {f"{gpu.uuid}/nvlink-{_LINK}"}, ", ".join(subjects))
    climbed = rungs([incident])
    stage.expect("one reset has brought it up", climbed == ["reset_gpu succeeded"], ", ".join(climbed))
    checks = {check.name: check.outcome.value for repair in incident.repairs for check in repair.checks}
    stage.expect("the verification looked at the links", checks.get("nvlink") == "passed", str(checks))
    await stage.serves_again(host)


SCENARIO = Scenario(
    "nvlink_down",
    "An NVLink goes down",
    "Telemetry alone finds it, the GPU is reset, and its links are verified.",
    _play,
)
