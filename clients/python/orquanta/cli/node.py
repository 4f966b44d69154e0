"""`orquanta node`: GPU hosts."""

from typing import Annotated

import typer

from orquanta.cli.node_repair import (
    acknowledge_condition,
    clear_condition,
    drain,
    quarantine,
    release,
    repair,
    verify,
)
from orquanta.cli.node_token import token_commands
from orquanta.cli.node_views import NODE_COLUMNS, node_row, print_node, print_state
from orquanta.cli.options import (
    AsJson,
    Limit,
    NodeReference,
    Reason,
    RequestId,
    States,
    first,
    page_size,
    parse_states,
)
from orquanta.cli.session import session_of
from orquanta.types.nodes import NodeState

node_commands = typer.Typer(no_args_is_help=True, help="Nodes: the GPU hosts of the fleet.")
node_commands.add_typer(token_commands, name="token")


@node_commands.command("list")
def list_nodes(
    ctx: typer.Context,
    state: States = None,
    gpu_type: Annotated[str, typer.Option("--gpu-type", "-t", help="Only nodes with this model.")] = "",
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List nodes, by name among those that are shown."""
    session = session_of(ctx, as_json=as_json)
    states = parse_states(NodeState, state)
    with session.connect() as client:
        nodes = first(client.nodes.list(states=states, gpu_type=gpu_type, page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"nodes": nodes})
        return
    session.output.table(
        NODE_COLUMNS,
        [node_row(node) for node in sorted(nodes, key=lambda node: node.name)],
        empty="No such nodes." if states or gpu_type else "No nodes. Let a host join: orquanta node token create",
    )


@node_commands.command()
def show(ctx: typer.Context, node_id: NodeReference, as_json: AsJson = False) -> None:
    """Show a node: its hardware, what runs there, what is wrong with it and what was done about it."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.get(node_id)
    if session.as_json:
        session.output.document(node)
    else:
        print_node(session.output, node)


@node_commands.command()
def cordon(
    ctx: typer.Context, node_id: NodeReference, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Take a node out of scheduling; what runs there goes on."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.cordon(node_id, reason=reason, request_id=request_id or None)
    print_state(session.output, node)


@node_commands.command()
def uncordon(
    ctx: typer.Context, node_id: NodeReference, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Put a node back into scheduling."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.uncordon(node_id, reason=reason, request_id=request_id or None)
    print_state(session.output, node)


@node_commands.command()
def revoke(
    ctx: typer.Context,
    node_id: NodeReference,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Revoke a node's credentials and take it out of the fleet for good."""
    session = session_of(ctx, as_json=as_json)
    if session.output.interactive and not yes:
        typer.confirm(f"Take {node_id} out of the fleet for good?", abort=True)
    with session.connect() as client:
        node = client.nodes.revoke(node_id, reason=reason, request_id=request_id or None)
    print_state(session.output, node)


node_commands.command()(drain)
node_commands.command()(repair)
node_commands.command()(verify)
node_commands.command()(quarantine)
node_commands.command()(release)
node_commands.command("ack-condition")(acknowledge_condition)
node_commands.command("clear-condition")(clear_condition)
