"""An incident on one page: what is wrong, what was seen, what was done, what it waits for, what to do."""

from collections.abc import Sequence

from orquanta.cli.condition_views import gpu_names, print_conditions
from orquanta.cli.diagnosis_views import print_cause
from orquanta.cli.formats import clock, elapsed, moment, one_line, or_dash, precise, words
from orquanta.cli.output import Output
from orquanta.cli.repair_views import print_repair
from orquanta.types.incidents import Incident, IncidentState
from orquanta.types.nodes import Node

INCIDENT_COLUMNS = ("incident", "state", "node", "what", "seen by", "open for", "why")
_WHAT_WIDTH = 60
_ENTRIES_SHOWN = 30


def incident_row(incident: Incident) -> tuple[str, ...]:
    """One row under `INCIDENT_COLUMNS`."""
    return (
        incident.id,
        words(incident.state),
        incident.node_name or incident.node_id,
        one_line(incident.summary, _WHAT_WIDTH),
        or_dash(incident.acknowledged_by),
        # What is escalated waits for a person, so its time goes on.
        elapsed(incident.opened_at, incident.closed_at if incident.state is IncidentState.RESOLVED else None),
        one_line(incident.status_reason, _WHAT_WIDTH),
    )


def tally(incidents: Sequence[Incident]) -> str:
    """Return how many of these are open, wait for a person, and are resolved, with what to do; nothing without any."""
    if not incidents:
        return ""
    waiting = [one for one in incidents if one.state is IncidentState.ESCALATED]
    resolved = sum(one.state is IncidentState.RESOLVED for one in incidents)
    text = f"{len(incidents) - len(waiting) - resolved} open, {len(waiting)} escalated, {resolved} resolved."
    if waiting:
        name = waiting[0].node_name or waiting[0].node_id
        text += f" What is escalated waits for a person, until: orquanta node release {name}"
    return text


def print_incident(output: Output, incident: Incident, node: Node) -> None:
    """The page."""
    gpus = gpu_names(node)
    output.say(f"{words(incident.state).upper()}: {one_line(incident.summary)}")
    output.say()
    _print_head(output, incident, node)
    if incident.diagnosis:
        output.say("\nDIAGNOSIS")
        output.block(incident.diagnosis, indent=2)
    if incident.explanation is not None:
        output.say("\nROOT CAUSE")
        print_cause(output, incident.explanation)
    if incident.conditions:
        output.say("\nWHAT WAS SEEN")
        print_conditions(output, incident.conditions, gpus)
    if incident.entries:
        output.say("\nWHAT WAS DONE")
        _print_entries(output, incident)
    if incident.repairs:
        output.say("\nREPAIRS")
        *earlier, last = incident.repairs
        for repair in earlier:
            print_repair(output, repair, gpus, brief=True)
        print_repair(output, last, gpus)
    output.say("\nTIMINGS")
    _print_timings(output, incident)
    output.say("\nWHAT TO DO")
    sentence, commands = advice(incident, node)
    output.say(f"  {sentence}")
    for purpose, command in commands:
        output.say(f"  {purpose:<30}  {command}")


def _print_head(output: Output, incident: Incident, node: Node) -> None:
    about = [gpu for gpu in node.gpus if gpu.inventory.uuid in incident.gpu_uuids]
    serials = [f"GPU {gpu.inventory.index} {gpu.inventory.serial or gpu.inventory.uuid}" for gpu in about]
    jobs = dict.fromkeys(one.job_id for gpu in node.gpus for one in gpu.holders)
    seen_by = incident.acknowledged_by
    if incident.taken_over:
        seen_by += ", who has taken it over: no repair is proposed"
    output.fields(
        [
            ("incident", incident.id),
            ("node", f"{incident.node_name} ({incident.node_id}), {words(node.state)}, {_link(node)}"),
            ("about", ", ".join(serials) or ", ".join(incident.gpu_uuids) or "the whole host"),
            ("now" if not incident.state.ended else "ended", incident.status_reason),
            ("seen by", seen_by or "nobody yet"),
            ("opened", moment(incident.opened_at)),
            ("closed", moment(incident.closed_at)),
            ("jobs there now", ", ".join(jobs) or "none on its GPUs"),
        ]
    )


def _link(node: Node) -> str:
    return "link up" if node.connected else "LINK DOWN"


def _print_entries(output: Output, incident: Incident) -> None:
    hidden = len(incident.entries) - _ENTRIES_SHOWN
    if hidden > 0:
        output.say(f"  ({hidden} earlier entries are left out here; --json has all)")
    for entry in incident.entries[-_ENTRIES_SHOWN:]:
        ids = ", ".join(part for part in (entry.action_id, entry.repair_id) if part)
        text = f"{entry.message} [{ids}]" if ids else entry.message
        output.say(f"  {clock(entry.at)}  {entry.kind:<20}  {one_line(text)}".rstrip())


def _print_timings(output: Output, incident: Incident) -> None:
    timings = incident.timings
    phases = (
        ("detect", timings.detect_seconds),
        ("cordon", timings.cordon_seconds),
        ("drain", timings.drain_seconds),
        ("repair", timings.repair_seconds),
        ("verify", timings.verify_seconds),
        ("total", timings.total_seconds),
    )
    output.say("  " + "   ".join(f"{name} {precise(seconds)}" for name, seconds in phases))


def advice(incident: Incident, node: Node) -> tuple[str, list[tuple[str, str]]]:
    """What a person should do now: a sentence, and commands with what each is for."""
    name, ack = incident.node_name or incident.node_id, f"orquanta incident ack {incident.id}"
    by_hand = [
        ("look at the node", f"orquanta node show {name}"),
        ("see what a repair would do", f"orquanta node repair {name} --dry-run"),
        ("repair it by hand", f"orquanta node repair {name} --wait"),
        ("test it under load", f"orquanta node verify {name} --wait"),
        ("put it back into service", f"orquanta node release {name} --reason '...'"),
    ]
    if any(repair.handoff_json for repair in incident.repairs):
        by_hand.insert(1, ("hand-off report", f"orquanta incident show {incident.id} --handoff"))
    if incident.state is IncidentState.RESOLVED:
        return "Nothing: it is over, and what it was about serves again.", []
    if incident.state is IncidentState.ESCALATED:
        mine = [] if incident.acknowledged_by else [("say that you are on it", ack)]
        return "A person must act; nothing more happens by itself.", [*mine, *by_hand]
    if incident.taken_over:
        return f"{incident.acknowledged_by} has taken it over; nothing happens by itself.", by_hand
    seen = [] if incident.acknowledged_by else [("say that you have seen it", ack)]
    commands = [
        ("follow it", f"orquanta incident watch --node {name}"),
        *seen,
        ("take it over", f"{ack} --take-over"),
        ("stop every effect in the fleet", "orquanta action stop-all"),
    ]
    if not node.connected:
        return "Check the host's power and network: its link is down, so no order reaches it.", commands
    return "Nothing has to be done: it is being worked on.", commands
