"""Following a repair to its end: steps as they come, on a terminal in place, elsewhere a line for each."""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import typer

from orquanta.cli.condition_views import gpu_names
from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import elapsed, now, one_line, words
from orquanta.cli.output import Output
from orquanta.cli.repair_views import PROGRESS_COLUMNS, progress_rows, repair_title
from orquanta.types.nodes import Node, NodeState
from orquanta.types.repairs import Repair

if TYPE_CHECKING:
    from orquanta import Client


def follow_repair(output: Output, client: "Client", node: Node, repair_id: str) -> Repair:
    """The repair once it has ended. Ctrl-C stops the watching, not the repair.

    Raises CommandError if the node leaves the fleet before.
    """
    try:
        with closing(client.nodes.watch(node_id=node.id)) as nodes:
            return _draw(nodes, repair_id) if output.terminal else _say(nodes, repair_id, output)
    except KeyboardInterrupt:
        output.note(f"The repair goes on; look at it with: orquanta node show {node.name}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _say(nodes: Generator[Node, None, None], repair_id: str, output: Output) -> Repair:
    said = 0
    state = ""
    for node, repair in _views(nodes, repair_id):
        if repair is None:
            continue
        rows = progress_rows(repair)
        if not output.as_json:
            for name, result, took, detail in rows[said:]:
                _line(output, f"{result:<11} {took:>7}  {name}" + (f": {detail}" if detail else ""))
            if repair.state != state:
                title = f"{node.name}: {repair_title(repair, gpu_names(node))} {words(repair.state)}"
                _line(output, f"{title}: {one_line(repair.message)}" if repair.message else title)
        said, state = max(said, len(rows)), repair.state
        if repair.state.ended:
            return repair
    raise _gone(repair_id)


def _draw(nodes: Generator[Node, None, None], repair_id: str) -> Repair:
    from orquanta.cli.drawing import LiveTable  # noqa: PLC0415 - rich is needed on a terminal only

    with LiveTable() as live:
        for node, repair in _views(nodes, repair_id):
            rows: Callable[[], list[tuple[str, str, str, str]]] = list
            if repair is not None:
                rows = partial(progress_rows, repair)
            live.update(partial(_head, node, repair, repair_id, gpu_names(node)), PROGRESS_COLUMNS, rows)
            if repair is not None and repair.state.ended:
                return repair
    raise _gone(repair_id)


def _head(node: Node, repair: Repair | None, repair_id: str, gpus: Mapping[str, str]) -> list[str]:
    link = "" if node.connected else "; its link is down"
    if repair is None:
        return [f"{repair_id}  waits for {node.name} ({words(node.state)}{link})  {one_line(node.status_reason)}"]
    took = elapsed(repair.started_at, repair.ended_at)
    return [
        f"{repair.id}  {repair_title(repair, gpus)} on {node.name} ({words(node.state)}{link})",
        f"{words(repair.state)}  {took}  {one_line(repair.message)}".rstrip(),
    ]


def _views(nodes: Generator[Node, None, None], repair_id: str) -> Generator[tuple[Node, Repair | None], None, None]:
    """The node after each change, and the repair once the host has reported it."""
    seen = False
    for node in nodes:
        ours = node.repair if node.repair is not None and node.repair.id == repair_id else None
        if seen and ours is None:  # the next one has taken its place before its end was sent to us
            return
        seen = seen or ours is not None
        yield node, ours
        if node.state is NodeState.REVOKED:
            return


def _gone(repair_id: str) -> CommandError:
    return CommandError(
        f"{repair_id} is not the node's repair any more; its incident has what became of it: orquanta incident list",
        reason="REPAIR_SUPERSEDED",
        code=ExitCode.FAILED,
    )


def _line(output: Output, text: str) -> None:
    output.say(f"{now().astimezone():%H:%M:%S} {text}")
