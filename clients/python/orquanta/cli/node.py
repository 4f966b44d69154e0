"""`orquanta node`: GPU hosts, and the tokens with which they join."""

from typing import Annotated

import typer

from orquanta.cli.formats import moment, or_dash, relative, size, words
from orquanta.cli.options import (
    AsJson,
    Limit,
    Reason,
    RequestId,
    States,
    first,
    page_size,
    parse_pairs,
    parse_span,
    parse_states,
)
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.nodes import GpuHealth, JoinToken, Node, NodeState

node_commands = typer.Typer(no_args_is_help=True, help="Nodes: the GPU hosts of the fleet.")
token_commands = typer.Typer(no_args_is_help=True, help="Join tokens: how a host becomes a node.")
node_commands.add_typer(token_commands, name="token")

NodeId = Annotated[str, typer.Argument(metavar="NODE", help="The node's id or name.")]


@node_commands.command("list")
def list_nodes(
    ctx: typer.Context,
    state: States = None,
    gpu_type: Annotated[str, typer.Option("--gpu-type", "-t", help="Only nodes with this model.")] = "",
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List nodes by name."""
    session = session_of(ctx, as_json=as_json)
    states = parse_states(NodeState, state)
    with session.connect() as client:
        nodes = first(client.nodes.list(states=states, gpu_type=gpu_type, page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"nodes": nodes})
        return
    session.output.table(
        ("node", "name", "state", "gpus", "free", "heard", "why"),
        [
            (
                node.id,
                node.name,
                words(node.state),
                gpu_summary(node),
                str(sum(not gpu.allocation_id for gpu in node.gpus)),
                relative(node.last_seen_at),
                or_dash(node.status_reason),
            )
            for node in nodes
        ],
        empty="No nodes. Let a host join: orquanta node token create",
    )


def gpu_summary(node: Node) -> str:
    """`8 x H100 (virtual)`."""
    counts: dict[str, int] = {}
    for gpu in node.gpus:
        counts[gpu.inventory.gpu_type] = counts.get(gpu.inventory.gpu_type, 0) + 1
    text = ", ".join(f"{count} x {model}" for model, count in counts.items()) or "none"
    return f"{text} (virtual)" if node.inventory.virtual_gpus else text


@node_commands.command()
def show(ctx: typer.Context, node_id: NodeId, as_json: AsJson = False) -> None:
    """Show a node, its hardware and what runs on its GPUs."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.get(node_id)
    if session.as_json:
        session.output.document(node)
    else:
        _print_node(session.output, node)


def _print_node(output: Output, node: Node) -> None:
    host = node.inventory
    output.fields(
        [
            ("node", node.id),
            ("name", node.name),
            ("state", words(node.state)),
            ("why", node.status_reason),
            ("link", "up" if node.connected else "down"),
            ("heard", moment(node.last_seen_at)),
            ("joined", moment(node.created_at)),
            ("certificate until", moment(node.certificate_expires_at)),
            ("labels", ", ".join(f"{key}={value}" for key, value in sorted(node.labels.items()))),
            ("host", f"{host.hostname}, {host.operating_system}, kernel {host.kernel}"),
            ("address", host.address),
            ("cpu", f"{host.cpu_count} x {host.cpu_model}"),
            ("memory", size(host.memory_bytes)),
            ("driver", f"{host.driver_version}, CUDA {host.cuda_version}" if host.driver_version else ""),
            ("containers", host.container_engine),
            ("limits", ", ".join(host.enforceable_limits)),
            ("daemon", host.agent_version),
        ]
    )
    output.say()
    output.table(
        ("gpu", "model", "memory", "health", "job", "uuid", "pci"),
        [
            (
                str(gpu.inventory.index),
                gpu.inventory.gpu_type,
                size(gpu.inventory.memory_bytes),
                "-" if gpu.health is GpuHealth.UNKNOWN else words(gpu.health),
                or_dash(gpu.job_id),
                gpu.inventory.uuid,
                gpu.inventory.pci_bus_id,
            )
            for gpu in node.gpus
        ],
        empty="No GPUs.",
    )


@node_commands.command()
def cordon(
    ctx: typer.Context, node_id: NodeId, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Take a node out of scheduling; what runs there goes on."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.cordon(node_id, reason=reason, request_id=request_id or None)
    _print_state(session.output, node)


@node_commands.command()
def uncordon(
    ctx: typer.Context, node_id: NodeId, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Put a node back into scheduling."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        node = client.nodes.uncordon(node_id, reason=reason, request_id=request_id or None)
    _print_state(session.output, node)


@node_commands.command()
def revoke(
    ctx: typer.Context,
    node_id: NodeId,
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
    _print_state(session.output, node)


def _print_state(output: Output, node: Node) -> None:
    if output.as_json:
        output.document(node)
    output.say(f"{node.name} ({node.id}) {words(node.state)}. {node.status_reason}".rstrip())


@token_commands.command("create")
def create_token(
    ctx: typer.Context,
    lifetime: Annotated[str, typer.Option("--lifetime", help="How long it can be used: 15m, 8h, 7d at most.")] = "1h",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="A label for the node.")
    ] = None,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Make a one-time token, and print the command with which a host joins."""
    session = session_of(ctx, as_json=as_json)
    span, labels = parse_span(lifetime), parse_pairs(label, "label")
    with session.connect() as client:
        created = client.nodes.create_join_token(lifetime=span, labels=labels, request_id=request_id or None)
    if session.as_json:
        session.output.document(created)
        return
    session.output.note(
        f"Token {created.join_token.id}, for one host, until {moment(created.join_token.expires_at)}. "
        "It is not shown again. On the host, run:"
    )
    session.output.say(f"orquanta-node join --server {created.server} --token {created.secret}")


@token_commands.command("list")
def list_tokens(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List join tokens, newest first, without their secrets."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        tokens = first(client.nodes.list_join_tokens(page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"join_tokens": tokens})
        return
    session.output.table(
        ("token", "made by", "made", "usable until", "used by", "revoked"),
        [
            (
                token.id,
                token.created_by,
                relative(token.created_at),
                relative(token.expires_at),
                or_dash(token.used_by_node_id),
                relative(token.revoked_at),
            )
            for token in tokens
        ],
        empty="No join tokens.",
    )


@token_commands.command("revoke")
def revoke_token(
    ctx: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id, t-...")],
    as_json: AsJson = False,
) -> None:
    """Make a join token unusable."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        token: JoinToken = client.nodes.revoke_join_token(token_id)
    if session.as_json:
        session.output.document(token)
    session.output.say(f"{token.id} revoked.")
