"""`orquanta incident`: troubles of nodes, and what is done about them."""

from contextlib import closing
from typing import Annotated

import typer

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import now, one_line, words
from orquanta.cli.incident_views import INCIDENT_COLUMNS, incident_row, print_incident, tally
from orquanta.cli.options import AsJson, Limit, Reason, RequestId, States, first, page_size, parse_states
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.incidents import Incident, IncidentState

incident_commands = typer.Typer(no_args_is_help=True, help="Incidents: troubles of nodes, and what is done about them.")

IncidentId = Annotated[str, typer.Argument(metavar="INCIDENT", help="The incident's id, i-...")]
OfNode = Annotated[str, typer.Option("--node", help="Only of this node, by id or name.")]


@incident_commands.command("list")
def list_incidents(
    ctx: typer.Context,
    state: States = None,
    node: OfNode = "",
    unsettled: Annotated[
        bool, typer.Option("--open", help="Only those that are not resolved: what somebody must know of now.")
    ] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List incidents, newest first."""
    session = session_of(ctx, as_json=as_json)
    states = parse_states(IncidentState, state)
    if unsettled:
        states += [one for one in IncidentState if one not in (IncidentState.UNKNOWN, IncidentState.RESOLVED, *states)]
    with session.connect() as client:
        incidents = first(client.incidents.list(states=states, node_id=node, page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"incidents": incidents})
        return
    session.output.table(INCIDENT_COLUMNS, [incident_row(one) for one in incidents], empty="No incidents.")
    if incidents:
        session.output.say(tally(incidents))


@incident_commands.command()
def show(
    ctx: typer.Context,
    incident_id: IncidentId,
    handoff: Annotated[
        bool, typer.Option("--handoff", help="Print only the hand-off report of the quarantine, as JSON.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show an incident on one page: what is wrong, what was seen and done, what it waits for, what to do."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        incident = client.incidents.get(incident_id)
        if handoff:
            typer.echo(_handoff(incident))
        elif session.as_json:
            session.output.document(incident)
        else:
            print_incident(session.output, incident, client.nodes.get(incident.node_id))


@incident_commands.command()
def ack(
    ctx: typer.Context,
    incident_id: IncidentId,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="It is yours from now on: no more repairs are proposed for it.")
    ] = False,
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Say that you have seen an incident; with --take-over, that it is yours."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        incident = client.incidents.acknowledge(
            incident_id, take_over=take_over, reason=reason, request_id=request_id or None
        )
    if session.as_json:
        session.output.document(incident)
    what = "taken over" if incident.taken_over else "acknowledged"
    session.output.say(f"{incident.id} ({words(incident.state)}) {what} by {incident.acknowledged_by}.")


@incident_commands.command()
def watch(ctx: typer.Context, node: OfNode = "", as_json: AsJson = False) -> None:
    """Print the open incidents, then each one after each change, until Ctrl-C."""
    session = session_of(ctx, as_json=as_json)
    told: dict[str, int] = {}
    with session.connect() as client, closing(client.incidents.watch(node_id=node)) as incidents:
        for incident in incidents:
            if session.as_json:
                session.output.record(incident)
            else:
                _say_change(session.output, incident, told)


def _say_change(output: Output, incident: Incident, told: dict[str, int]) -> None:
    """One line for where it is, and one for each thing that was done since it was last told of."""
    begin = told.get(incident.id)
    if begin is None or len(incident.entries) < begin:
        begin = len(incident.entries)
    for entry in incident.entries[begin:]:
        output.say(f"         {incident.id} {entry.kind}: {one_line(entry.message)}")
    if incident.state is IncidentState.RESOLVED:
        told.pop(incident.id, None)
    else:
        told[incident.id] = len(incident.entries)
    why = f": {one_line(incident.status_reason)}" if incident.status_reason else ""
    output.say(
        f"{now().astimezone():%H:%M:%S} {incident.id} {incident.node_name} {words(incident.state)}"
        f" - {one_line(incident.summary)}{why}"
    )


def _handoff(incident: Incident) -> str:
    found = [repair.handoff_json for repair in incident.repairs if repair.handoff_json]
    if not found:
        raise CommandError(
            f"{incident.id} has no hand-off report; a quarantine writes one",
            reason="NO_HANDOFF",
            code=ExitCode.NOT_FOUND,
        )
    return found[-1]
