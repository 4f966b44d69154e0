"""Tools that read incidents."""

from typing import Annotated, Literal

from pydantic import Field

from control_plane.fleet.timings import timings
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.identity import Principal
from control_plane.model.incident import Incident, IncidentState
from control_plane.store import incidents, nodes
from control_plane.store.database import Tx
from control_plane.store.incidents import IncidentFilter, Parts
from control_plane.store.pages import PageRequest
from control_plane.tools.arguments import Input
from control_plane.tools.conditions import ConditionOut, condition_out
from control_plane.tools.definition import Found, ReadTool, Sources
from control_plane.tools.incident_diagnoses import explanation
from control_plane.tools.output import Line, Moment, Number, Output, PageOutput, Part, Text, Token
from control_plane.tools.references import IncidentReference, Limit, NodeReference, PageToken, incident_id

StateName = Literal["open", "repairing", "verifying", "resolved", "escalated"]

_ENTRIES_TOLD = 50
_STEPS_TOLD = 20


class ListIncidents(Input):
    """Which incidents; newest first."""

    state: Annotated[StateName | None, Field(description="Only incidents in this state")] = None
    node: NodeReference | None = None
    limit: Limit = 20
    page: PageToken = ""


class IncidentLine(Part):
    """An incident in a list. `kinds` are those of its conditions, with the Xid number where there is one."""

    evidence_id: str
    id: str
    node_id: str
    node: Token
    state: StateName
    kinds: tuple[Token, ...]
    acknowledged: bool
    taken_over: bool
    opened_at: Moment
    closed_at: Moment | None


class IncidentPage(PageOutput):
    """A page of incidents, newest first."""

    incidents: tuple[IncidentLine, ...]


class GetIncident(Input):
    """Which incident."""

    incident: IncidentReference


class RepairTried(Part):
    """A repair and what came of it."""

    id: str
    rung: str
    state: str
    message: Line
    failed_steps: tuple[Line, ...]
    failed_checks: tuple[Line, ...]
    ordered_at: Moment
    closed_at: Moment | None


class EntryOut(Part):
    """One entry of an incident's history."""

    at: Moment
    kind: Token
    message: Line
    action_id: str


class CauseOut(Part):
    """The root cause, with the ids of what says so. `found_by` is "rules", or the name of a model: its words alone."""

    cause: Token
    fault: Token
    summary: Line
    advice: Line
    confidence: Number
    found_by: Token
    note: Line
    evidence_ids: tuple[Token, ...]
    alternatives: tuple[Token, ...]


class IncidentOut(Output):
    """An incident with its conditions, repairs and newest history, at most 50 entries."""

    incident: IncidentLine
    summary: Line
    diagnosis: Text
    explanation: CauseOut
    status_reason: Line
    total_seconds: Number | None
    conditions: tuple[ConditionOut, ...]
    repairs: tuple[RepairTried, ...]
    history: tuple[EntryOut, ...]


def _line(incident: Incident) -> IncidentLine:
    kinds = (f"{one.kind}_{one.code}" if one.code else one.kind for one in incident.conditions)
    return IncidentLine(
        evidence_id=f"incident:{incident.id}",
        id=incident.id,
        node_id=incident.node_id,
        node=incident.node_name,
        state=incident.state.value,
        kinds=tuple(dict.fromkeys(kinds)),
        acknowledged=bool(incident.acknowledged_by),
        taken_over=incident.taken_over,
        opened_at=incident.opened_at,
        closed_at=incident.closed_at,
    )


def _cause(why: Diagnosis) -> CauseOut:
    return CauseOut(
        cause=why.cause,
        fault=why.fault.value,
        summary=why.summary,
        advice=why.advice,
        confidence=why.confidence,
        found_by=why.diagnosed_by,
        note=why.note,
        evidence_ids=tuple(one.id for one in why.evidence),
        alternatives=why.alternatives,
    )


async def _list(sources: Sources, _principal: Principal, wanted: ListIncidents) -> Found[IncidentPage]:
    def read(tx: Tx) -> IncidentPage:
        which = IncidentFilter(
            states=(IncidentState(wanted.state),) if wanted.state else (),
            node_id=nodes.resolve(tx, wanted.node).id if wanted.node else None,
        )
        page = incidents.page(tx, which, PageRequest(wanted.limit, wanted.page), Parts.NONE)
        return IncidentPage(incidents=tuple(_line(one) for one in page.items), next_page=page.next_token)

    output = await sources.store.read(read)
    return Found(output, "incidents", empty=not output.incidents)


async def _get(sources: Sources, _principal: Principal, wanted: GetIncident) -> Found[IncidentOut]:
    wanted_id = incident_id(wanted.incident)

    def read(tx: Tx) -> tuple[Incident, Diagnosis]:
        found = incidents.require(tx, wanted_id)
        return found, explanation(tx, found)

    incident, why = await sources.store.read(read)
    output = IncidentOut(
        incident=_line(incident),
        summary=incident.summary,
        diagnosis=incident.diagnosis,
        explanation=_cause(why),
        status_reason=incident.status_reason,
        total_seconds=timings(incident).total_seconds,
        conditions=tuple(condition_out(incident.node_id, one) for one in incident.conditions),
        repairs=tuple(
            RepairTried(
                id=repair.id,
                rung=repair.rung.name.lower(),
                state=repair.state.value,
                message=repair.message,
                failed_steps=tuple(f"{step.name}: {step.detail}" for step in repair.steps[:_STEPS_TOLD] if not step.ok),
                failed_checks=tuple(
                    f"{check.name}: {check.detail}"
                    for check in repair.checks[:_STEPS_TOLD]
                    if check.outcome.value == "failed"
                ),
                ordered_at=repair.ordered_at,
                closed_at=repair.closed_at,
            )
            for repair in incident.repairs
        ),
        history=tuple(
            EntryOut(at=entry.at, kind=entry.kind, message=entry.message, action_id=entry.action_id)
            for entry in incident.entries[-_ENTRIES_TOLD:]
        ),
    )
    return Found(output, output.incident.evidence_id)


LIST_INCIDENTS = ReadTool(
    name="list_incidents",
    description="Lists troubles of hosts, newest first: what kind, on which host, in which state.",
    arguments=ListIncidents,
    result=IncidentPage,
    read=_list,
    untrusted=False,
)
GET_INCIDENT = ReadTool(
    name="get_incident",
    description="Tells all about one trouble: its conditions, the diagnosis, every repair with what failed in it, and "
    "the history.",
    arguments=GetIncident,
    result=IncidentOut,
    read=_get,
)
