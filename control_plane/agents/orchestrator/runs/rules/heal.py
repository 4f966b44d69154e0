"""Repair goals by rules: look, propose the gentlest repair that fits or leave it to the open incident, watch."""

from typing import Any

from control_plane.agents.orchestrator.host_wishes import read_host_command
from control_plane.agents.orchestrator.runs.moves import Call, Finish, Move, Watch
from control_plane.agents.orchestrator.runs.rules import hosts, remember
from control_plane.agents.orchestrator.runs.view import Json, Patient, RunView, load
from control_plane.model.ids import NodeId
from control_plane.model.node import NodeState
from control_plane.model.run import RunState
from control_plane.model.run_step import Outcome
from control_plane.model.tool import ToolStatus

_FAULTS_SHOWN = 5
_LOOK_SECONDS = 30.0  # how long a run watches without looking, though nothing has changed that it knows of
_ASKS_NOTHING = ("", "none", "verify")


def decide(view: RunView) -> Move:
    """Return the next move for the first node that the goal names and that is not settled yet."""
    names = view.plan.targets.nodes
    if not names:
        return _no_node(view)
    command = None if view.goal is None else read_host_command(view.goal.text)
    if command is not None:
        return hosts.decide(view, command)
    lines: list[str] = []
    states: list[RunState] = []
    for name in names:
        move = _treat(view, name)
        if not isinstance(move, Finish):
            return move
        lines.append(move.result)
        states.append(move.state)
    state = RunState.SUCCEEDED if all(one is RunState.SUCCEEDED for one in states) else RunState.FAILED
    return Finish(state, "\n".join(lines), lines[0] if state is RunState.FAILED else "", view.evidence())


def settle(view: RunView, answer: str) -> Move:
    """Return what follows from a model's answer: it counts only once code has seen that the nodes are well."""
    if not view.wrote():
        move = decide(view)
        if not isinstance(move, Finish):
            return move
        return Finish(move.state, f"{answer}\n\nChecked by code: {move.result}", move.reason, move.evidence_ids)
    watched = _watched(view, view.plan.targets.nodes)
    if watched is not None:
        return watched
    lines, well = _verdicts(view)
    state = RunState.SUCCEEDED if well else RunState.FAILED
    return Finish(state, f"{answer}\n\nChecked by code: {lines}", "" if well else lines, view.evidence())


def _no_node(view: RunView) -> Move:
    """A goal that names a job or a pool: find the nodes with open incidents, and tell about them."""
    arguments = {"limit": 20}
    found = view.look("list_incidents", arguments)
    if found is None:
        return Call("list_incidents", arguments, "the goal names no node: see what is wrong at all")
    open_ones = [one for one in _list(found, "incidents") if one.get("state") != "resolved"]
    if not open_ones:
        return Finish(RunState.SUCCEEDED, "No incident is open: nothing needs a repair.", "", view.evidence())
    lines = [f"- {_incident_words(one)}" for one in open_ones[:_FAULTS_SHOWN]]
    text = "Name the node that you mean. These incidents are open:\n" + "\n".join(lines)
    return Finish(RunState.FAILED, text, "the goal names no node", view.evidence())


def _treat(view: RunView, name: str) -> Move:
    node = view.look("get_node", {"node": name})
    if node is None:
        return Call("get_node", {"node": name}, f"see how {name} is")
    if node.status != ToolStatus.OK:
        return Finish(RunState.FAILED, f"{name}: {_trouble(node)}", _trouble(node))
    found = node.data.get("node", {})
    arguments = {"node": name, "limit": 5}
    told = view.look("list_incidents", arguments)
    if told is None:
        return Call("list_incidents", arguments, f"see what happened to {name} before")
    node_id = NodeId(str(found.get("id", "")))
    asked = next((one for one in _repairs(view) if one[0].get("node") == name), None)
    if asked is not None:
        return _after_repair(view, name, node_id, asked[1])
    active = [one for one in _list(told, "incidents") if one.get("state") not in ("resolved", "escalated")]
    if active:
        return _handed_over(view, name, node_id, active[0])
    escalated = [one for one in _list(told, "incidents")[:1] if one.get("state") == "escalated"]
    if found.get("hold") == "quarantined" or (escalated and _faults(node)):
        return Finish(
            RunState.FAILED,
            f"{name} is out of service and waits for a person: automatic repairs did not help. {_fault_words(node)} "
            f"Look at it, then: orquanta node release {name}",
            f"{name} waits for a person",
        )
    if not _faults(node):
        return _nothing_wrong(name, node, told)
    return _propose(view, name, node)


def _propose(view: RunView, name: str, node: Outcome) -> Move:
    """Propose the repair that fits; where memory warns of it, the next one."""
    why = f"{name}: {_fault_words(node)}"
    arguments: dict[str, Any] = {"node": name, "reason": "a goal asks for it"}  # Any: JSON
    gpu = view.plan.targets.gpu_index
    if gpu is not None:
        arguments["gpus"] = [str(gpu)]
    recalled = remember.recall(view, name, _faults(node))
    if isinstance(recalled, Call):
        return recalled
    if recalled is not None:
        rung, warning = remember.better_rung(recalled, str(_faults(node)[0].get("repair", "")))
        if rung:
            arguments |= {"rung": rung, "reason": f"a goal asks for it; {warning}"}
            why = f"{why} {warning}"
    return Call("repair_node", arguments, why)


def _repairs(view: RunView) -> list[tuple[Json, Outcome]]:
    return [
        (load(step.intent.arguments_json), outcome)
        for step, outcome in view.calls()
        if step.intent.name == "repair_node" and step.intent.turn == 0
    ]


def _nothing_wrong(name: str, node: Outcome, told: Outcome) -> Finish:
    state = node.data.get("node", {}).get("state", "")
    before = [one for one in _list(told, "incidents") if one.get("state") == "resolved"]
    past = f" Its last trouble is over: {_incident_words(before[0])}." if before else ""
    if state == "ready":
        return Finish(
            RunState.SUCCEEDED,
            f"{name} is ready and has no fault now, so nothing was changed.{past} To test it anyway: orquanta node "
            f"verify {name}",
        )
    return Finish(
        RunState.FAILED,
        f"{name} has no fault that is known, but it is {state}.{past} See: orquanta node show {name}",
        f"{name} is {state}",
    )


def _handed_over(view: RunView, name: str, node_id: NodeId, incident: Json) -> Move:
    """An incident is being treated already: watch it, a second repair would only be in its way."""
    if incident.get("taken_over"):
        return Finish(
            RunState.FAILED,
            f"{name}: {_incident_words(incident)}, and a person has taken it over; ask them",
            f"a person treats {name}",
        )
    return _ended_or_watch(view, name, node_id, f"{incident.get('id')} of {name} is being treated")


def _after_repair(view: RunView, name: str, node_id: NodeId, asked: Outcome) -> Move:
    decision = None if asked.action_id is None else view.decision(asked.action_id)
    if asked.status == ToolStatus.APPROVAL_REQUIRED and decision is not None and decision.status != "done":
        return Finish(
            RunState.FAILED,
            f"{name}: the repair was {decision.status}. {decision.shown}",
            "the repair was not approved",
        )
    if asked.status in (ToolStatus.DENIED, ToolStatus.ERROR):
        return Finish(RunState.FAILED, f"{name}: {_trouble(asked)}{_by_hand(name, asked)}", _trouble(asked))
    return _ended_or_watch(view, name, node_id, f"{name} is being repaired")


def _by_hand(name: str, asked: Outcome) -> str:
    if asked.error_code == "ROLE_TOO_LOW":
        return f" Ask an operator to run: orquanta node repair {name}"
    return ""


def _ended_or_watch(view: RunView, name: str, node_id: NodeId, why: str) -> Move:
    patient = next((one for one in view.patients if one.node.id == node_id), None)
    if patient is None or _in_treatment(patient):
        return Watch(why, (node_id,), _LOOK_SECONDS)
    text, well = _verdict(patient)
    return Finish(RunState.SUCCEEDED if well else RunState.FAILED, text, "" if well else f"{name} is not well")


def _watched(view: RunView, names: tuple[str, ...]) -> Watch | None:
    """Return that the nodes that the run has changed are to be watched, unless all are settled."""
    ids = []
    for step, outcome in view.calls():
        node = outcome.data.get("node")
        if step.intent.name == "get_node" and isinstance(node, dict):
            ids.append(NodeId(str(node.get("id", ""))))
    wanted = tuple(dict.fromkeys(ids))
    known = {one.node.id for one in view.patients}
    if any(node_id not in known for node_id in wanted) or any(_in_treatment(one) for one in view.patients):
        return Watch(f"watches {', '.join(names) or 'the nodes'} until they are well", wanted, _LOOK_SECONDS)
    return None


def _in_treatment(patient: Patient) -> bool:
    if patient.repair is not None:
        return True
    incident = patient.incident
    return incident is not None and not incident.state.ended and not incident.taken_over


def _verdicts(view: RunView) -> tuple[str, bool]:
    told = [_verdict(one) for one in view.patients]
    return " ".join(text for text, _ in told) or "no node was looked at.", bool(told) and all(well for _, well in told)


def _verdict(patient: Patient) -> tuple[str, bool]:
    node = patient.node
    if patient.incident is not None and patient.incident.taken_over:
        return f"{node.name}: a person has taken over {patient.incident.id}.", False
    if node.state is NodeState.READY:
        return f"{node.name} is ready again, and no incident of it is open.", True
    if node.state is NodeState.QUARANTINED:
        told = f"{node.name} is quarantined: automatic repairs did not help, a person must look at it."
        return f"{told} Then: orquanta node release {node.name}", False
    return f"{node.name} is {node.state.value} ({node.status_reason or 'no reason given'}).", False


def _faults(node: Outcome) -> list[Json]:
    return [
        one
        for one in _list(node, "conditions")
        if str(one.get("repair", "")) not in _ASKS_NOTHING and not one.get("acknowledged")
    ]


def _fault_words(node: Outcome) -> str:
    words = [
        f"{one.get('kind')}{' ' + str(one['code']) if one.get('code') else ''} on {one.get('gpu_uuid') or 'the host'} "
        f"({one.get('count')} times, {one.get('evidence_id')})"
        for one in _faults(node)[:_FAULTS_SHOWN]
    ]
    return "; ".join(words) + "." if words else ""


def _incident_words(incident: Json) -> str:
    kinds = ", ".join(str(kind) for kind in incident.get("kinds", ())) or "unknown trouble"
    return f"{incident.get('id')} of {incident.get('node')} ({kinds}) is {incident.get('state')}"


def _trouble(outcome: Outcome) -> str:
    return str(outcome.data.get("error") or outcome.data.get("outcome") or outcome.status)


def _list(outcome: Outcome, name: str) -> list[Json]:
    found = outcome.data.get(name, ())
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list | tuple) else []
