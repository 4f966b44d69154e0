"""One fault for real: control plane and daemon are programs, the kernel prints a line, an incident follows."""

from collections.abc import Iterator

from evals.case import Case, InfrastructureError, Verdict
from orquanta.gameday import kernel
from orquanta.gameday.fleet import FleetError
from orquanta.gameday.stage import open_stage
from orquanta.types.incidents import IncidentState

_SECONDS = 180.0
_LINE = "DBE (double bit error) ECC Error"


def cases() -> Iterator[Case]:
    """Give the one case."""
    yield Case("daemon-xid-48", _attempt, _SECONDS)


async def _attempt() -> Verdict:
    try:
        async with open_stage({}, lambda _: None) as stage:
            (host,) = await stage.add_hosts(1)
            gpu = await stage.gpu(host)
            await stage.print(host, kernel.xid(gpu, 13, "Graphics SM Warp Exception", pid=7, name="python"))
            await stage.print(host, kernel.xid(gpu, 48, _LINE))
            incident = await stage.incident(host, *_TREATED)
    except FleetError as error:
        raise InfrastructureError(str(error)) from error
    bad = [one for one in incident.conditions if one.severity.value != "info"]
    codes = {one.code for one in bad}
    quoted = any(_LINE in piece.text for one in bad for piece in one.evidence)
    cited = all(any(piece.id in incident.diagnosis for piece in one.evidence) for one in bad)
    value = 1 / len(codes) if 48 in codes and quoted and cited else 0.0
    return Verdict(value, detail=f"codes {sorted(codes)}, line quoted: {quoted}, evidence cited: {cited}")


_TREATED = (IncidentState.REPAIRING, IncidentState.VERIFYING, IncidentState.RESOLVED, IncidentState.ESCALATED)
