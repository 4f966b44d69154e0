"""One host by rules: its state, what is wrong and what shows that, its incident, its repair, and what it waits for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from control_plane.agents.orchestrator.runs.moves import Call, Move
from control_plane.agents.orchestrator.runs.rules.answering import ago, trouble
from control_plane.agents.orchestrator.runs.rules.nearest import nearest_nodes
from control_plane.agents.orchestrator.runs.view import Json, RunView
from control_plane.model.run_step import Outcome
from control_plane.model.tool import ToolStatus

_FAULTS_SHOWN = 8
_PROOFS_SHOWN = 3
_ENDED = ("resolved", "escalated")
_REPAIR_ENDED = ("succeeded", "failed", "refused")
_WAITS = {
    "joining": "It waits for its first report.",
    "cordoned": "It takes no jobs until somebody runs: orquanta node uncordon {name}",
    "draining": "It waits for its jobs to move away.",
    "repairing": "It waits for the repair to end.",
    "verifying": "It waits for its test under load; if that passes it takes jobs again.",
    "quarantined": "It waits for a person: look at it, then: orquanta node release {name}",
    "lost": "It waits for its daemon to report again: look at its power, its network and orquanta-node on it.",
    "revoked": "It never comes back under this certificate: join it anew with: orquanta node token create",
}


def about_node(view: RunView, name: str) -> Move | str:
    """Return the next call that is needed to tell of a host, or what is to be told."""
    found = view.look("get_node", {"node": name})
    if found is None:
        return Call("get_node", {"node": name}, f"see how {name} is")
    if found.error_code == "NODE_NOT_FOUND":
        near = nearest_nodes(view, name)
        return near if isinstance(near, Call) else f"There is no host named {name}.{near}"
    if found.status != ToolStatus.OK:
        return f"{name}: {trouble(found, 'nothing is known of it')}"
    node = found.data.get("node", {})
    incident_id = str(node.get("incident_id") or "")
    incident = view.look("get_incident", {"incident": incident_id}) if incident_id else None
    if incident_id and incident is None:
        return Call("get_incident", {"incident": incident_id}, f"see what is done about {name}")
    return "\n".join(_lines(view, name, found, incident))


def _lines(view: RunView, name: str, found: Outcome, incident: Outcome | None) -> Iterator[str]:
    node = found.data.get("node", {})
    name, state = str(node.get("name", name)), str(node.get("state", ""))
    gpus = ", ".join(f"{one['idle']} of {one['total']} {one['gpu_type']} idle" for one in node.get("gpus", ()))
    faults = [one for one in found.data.get("conditions", ()) if isinstance(one, dict)]
    wrong = f"{len(faults)} thing{'s are' if len(faults) > 1 else ' is'} wrong with it:" if faults else ""
    yield f"{name} is {state}: {gpus or 'no GPUs'}; {wrong or 'nothing is wrong with it.'}"
    yield from (_fault(view, one, _indices(found)) for one in faults[:_FAULTS_SHOWN])
    if len(faults) > _FAULTS_SHOWN:
        yield f"- and {len(faults) - _FAULTS_SHOWN} more: orquanta node show {name}"
    yield from _jobs(found)
    if not node.get("connected", True) and state != "lost":
        heard = ago(view, found.data.get("last_seen_at"))
        yield f"Its daemon is not connected{f'; it was last heard {heard}' if heard else ''}."
    if incident is not None and incident.status == ToolStatus.OK:
        yield from _incident(view, incident)
    yield from _repair(view, found.data.get("repair"))
    waits = _WAITS.get(state)
    if waits is not None:
        yield waits.format(name=name)


def _indices(found: Outcome) -> Mapping[str, object]:
    return {str(gpu.get("uuid")): gpu.get("index") for gpu in found.data.get("gpus", ()) if isinstance(gpu, dict)}


def _jobs(found: Outcome) -> Iterator[str]:
    """Tell which jobs hold GPUs of the host."""
    held = Counter(
        str(gpu["job_id"]) for gpu in found.data.get("gpus", ()) if isinstance(gpu, dict) and gpu.get("job_id")
    )
    if held:
        told = ", ".join(f"{job_id} ({number} GPU{'s' if number > 1 else ''})" for job_id, number in held.items())
        yield f"Jobs on it: {told}."


def _fault(view: RunView, one: Json, index: Mapping[str, object]) -> str:
    code = f" {one['code']}" if one.get("code") else ""
    uuid = str(one.get("gpu_uuid") or "")
    where = (f"GPU {index[uuid]} ({uuid})" if uuid in index else uuid) if uuid else "the host"
    count = one.get("count", 1)
    first = ago(view, one.get("first_seen_at"))
    last = ago(view, one.get("last_seen_at"))
    seen = f"seen {count} times, first {first}, last {last}" if count != 1 else f"seen once, {first}"
    repair = str(one.get("repair") or "").replace("_", " ")
    asks = f"; the repair that fits: {repair}" if repair not in ("", "none") else ""
    seen_by = ", ".join(_first(one.get("observations", ())))
    proof = f" [{seen_by or one.get('evidence_id', '')}]"
    return f"- {one.get('severity')}: {one.get('kind')}{code} on {where}, {seen}{asks}{proof}"


def _incident(view: RunView, found: Outcome) -> Iterator[str]:
    one = found.data.get("incident", {})
    if one.get("state") in _ENDED and one.get("state") != "escalated":
        return
    taken = ", and a person has taken it over" if one.get("taken_over") else ""
    reason = str(found.data.get("status_reason") or "").strip().rstrip(".")
    why = f": {reason}" if reason else ""
    yield f"Incident {one.get('id')} is {one.get('state')}, opened {ago(view, one.get('opened_at'))}{taken}{why}."
    tried = [
        f"{str(repair.get('rung')).replace('_', ' ')} {repair.get('state')}"
        for repair in found.data.get("repairs", ())
        if isinstance(repair, dict) and repair.get("state") in _REPAIR_ENDED
    ]
    if tried:
        yield f"Tried so far: {', then '.join(tried)}."


def _repair(view: RunView, found: object) -> Iterator[str]:
    if not isinstance(found, dict) or found.get("state") in _REPAIR_ENDED:
        return
    dry = " (dry run)" if found.get("dry_run") else ""
    rung = str(found.get("rung")).replace("_", " ")
    ordered = ago(view, found.get("ordered_at"))
    yield f"A repair runs: {rung} ({found.get('id')}){dry} is {found.get('state')}, ordered {ordered}."


def _first(found: Iterable[object]) -> Iterator[str]:
    for number, one in enumerate(found):
        if number < _PROOFS_SHOWN:
            yield str(one)
