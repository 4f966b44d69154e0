"""A call of the driver hangs for ever."""

import asyncio
import contextlib

from orquanta.gameday import local
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Stage, rungs
from orquanta.types.incidents import IncidentState

_ANSWER_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
_AT_FIRST_KILL = "[health]\nstalls_fatal = 1\n"
"""One kill of a hung probe may be a busy host; waiting for three takes a minute."""


async def _play(stage: Stage) -> None:
    (host,) = await stage.add_hosts(1, config=_AT_FIRST_KILL)
    await stage.inject(host, "hang", value=3600, times=0)
    answers = 0

    async def ask() -> None:
        nonlocal answers
        while True:
            await local.status(host, seconds=_ANSWER_SECONDS)
            answers += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    asking = asyncio.ensure_future(ask())
    try:
        incident = await stage.incident(host, IncidentState.RESOLVED, IncidentState.ESCALATED, seconds=150)
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((asking,))
    failed = "" if asking.cancelled() else str(asking.exception())
    stage.expect("the daemon answered all the time", not failed and answers > 0, failed or "it was never asked")
    stage.expect("the incident is resolved", incident.state is IncidentState.RESOLVED, incident.status_reason)
    climbed = rungs([incident])
    stage.expect("reloading the driver has ended it", climbed == ["reload_driver succeeded"], ", ".join(climbed))
    await stage.serves_again(host)
    stage.expect("the host was never lost", not await _was_lost(stage), "see the audit: node.lost")


async def _was_lost(stage: Stage) -> bool:
    return any([record.action == "node.lost" async for record in stage.admin.audit.list(page_size=500)])


SCENARIO = Scenario(
    "hung_driver",
    "A call of the driver hangs for ever",
    "The probe is killed, the daemon answers all the while, the hang is a condition, and a driver reload ends it.",
    _play,
)
