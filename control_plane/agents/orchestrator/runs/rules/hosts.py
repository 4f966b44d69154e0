"""What people do to hosts that is no repair, by rules: proposed for who may, and told as a command to who may not."""

from control_plane.agents.orchestrator.host_wishes import HostCommand, HostWish
from control_plane.agents.orchestrator.runs.moves import Call, Finish, Move
from control_plane.agents.orchestrator.runs.rules.nearest import nearest_nodes
from control_plane.agents.orchestrator.runs.view import RunView
from control_plane.model.run import RunState
from control_plane.model.run_step import Outcome
from control_plane.model.tool import ToolStatus

_DONE = {
    HostWish.DRAIN: "It takes no more jobs, those on it move away, and it stays out of service until it is released: "
    "orquanta node release {name}",
    HostWish.CORDON: "It takes no more jobs, and those on it go on. To let jobs onto it again: orquanta node uncordon "
    "{name}",
    HostWish.UNCORDON: "It may take jobs again.",
    HostWish.RELEASE: "It may take jobs again.",
}


def decide(view: RunView, command: HostCommand) -> Move:
    """Return the next move: look at each host, then propose what is asked for it, or tell who may."""
    lines: list[str] = []
    well = True
    for name in view.plan.targets.nodes:
        told = _one(view, command.wish, name)
        if not isinstance(told, tuple):
            return told
        lines.append(told[0])
        well = well and told[1]
    text = "\n".join(lines)
    return Finish(
        RunState.SUCCEEDED if well else RunState.FAILED, text, "" if well else lines[0], evidence_ids=view.evidence()
    )


def _one(view: RunView, wish: HostWish, name: str) -> Move | tuple[str, bool]:
    """Return the next move for one host, or what became of it and whether that is what was asked for."""
    found = view.look("get_node", {"node": name})
    if found is None:
        return Call("get_node", {"node": name}, f"see how {name} is")
    if found.status != ToolStatus.OK:
        near = nearest_nodes(view, name)
        return near if isinstance(near, Call) else (f"There is no host named {name}.{near}", False)
    by_hand = f"orquanta node {wish.value} {name}"
    tool = f"{wish.value}_node"
    if tool not in view.tools:
        return f"{name} stays as it is: this takes the role operator. Ask an operator to run: {by_hand}", False
    arguments = {"node": name, "reason": "a goal asks for it"}
    made = view.look(tool, arguments)
    if made is None:
        return Call(tool, arguments, f"the goal asks to {wish.value} {name}")
    return _became(view, wish, name, made)


def _became(view: RunView, wish: HostWish, name: str, made: Outcome) -> tuple[str, bool]:
    if made.status == ToolStatus.OK:
        return f"{made.data.get('outcome') or name}. {_DONE[wish].format(name=name)}", True
    decision = None if made.action_id is None else view.decision(made.action_id)
    if decision is not None and decision.status == "done":
        return f"{name}: approved. {_DONE[wish].format(name=name)}", True
    why = (decision.shown if decision is not None else "") or made.data.get("error") or made.data.get("outcome")
    return f"{name} stays as it is: {why or made.status}", False
