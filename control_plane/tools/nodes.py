"""Tools that read nodes: typed fields only, so that no host's own sentences are in their results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal

from pydantic import Field

from control_plane.model.health import Condition
from control_plane.model.identity import Principal
from control_plane.model.ids import IncidentId, NodeId
from control_plane.model.job import WHOLE_GPU_MILLI
from control_plane.model.node import GpuHealth, GpuInventory, Node, NodeState
from control_plane.model.repair import Repair
from control_plane.store import conditions, gpu_holds, incidents, nodes, repairs
from control_plane.store.database import Tx
from control_plane.store.gpu_briefs import GpuBrief, NodeBrief
from control_plane.store.gpu_holds import GpuHold, Holders, share_milli, used_milli
from control_plane.store.nodes import POOL, RACK, NodeFilter
from control_plane.store.pages import PageRequest
from control_plane.store.readable import readable
from control_plane.tools.arguments import Input
from control_plane.tools.capacity import Count, Wellness, of_host, of_node
from control_plane.tools.conditions import ConditionOut, condition_out
from control_plane.tools.definition import Found, ReadTool, Sources
from control_plane.tools.fleet_gpus import FleetView
from control_plane.tools.output import Moment, Number, Output, PageOutput, Part, Token
from control_plane.tools.references import GpuType, Limit, NodeReference, PageToken

StateName = Literal[
    "joining", "ready", "cordoned", "draining", "repairing", "verifying", "quarantined", "lost", "revoked"
]

_CONDITIONS_TOLD = 20
_HOLDERS_TOLD = 20


class ListNodes(Input):
    """Which nodes."""

    state: Annotated[StateName | None, Field(description="Only nodes in this state")] = None
    gpu_type: GpuType | None = None
    idle: Annotated[bool | None, Field(description="true: only nodes with an idle GPU; false: with none")] = None
    limit: Limit = 50
    page: PageToken = ""


class GpuCount(Part):
    """GPUs of one model on a node.

    Of those `held` a job has something, of `partly_held` not all is taken; `used` counts parts as parts.
    """

    gpu_type: Token
    total: int
    held: int
    partly_held: int
    used: Number
    idle: int
    unwell: int


class NodeLine(Part):
    """A node in a list. `hold` says why it is out of service; empty if it is not."""

    evidence_id: str
    id: str
    name: Token
    state: StateName
    connected: bool
    cordoned: bool
    hold: str
    gpus: tuple[GpuCount, ...]
    pool: Token
    rack: Token
    conditions: int
    incident_id: str


class NodePage(PageOutput):
    """A page of nodes, by id."""

    nodes: tuple[NodeLine, ...]


class GetNode(Input):
    """Which node."""

    node: NodeReference


class HolderOut(Part):
    """A job that holds a GPU, and how much of it: 1 is all."""

    job_id: str
    share: Number


class GpuOut(Part):
    """A GPU. `holders` are all jobs that hold some of it, `job_id` the first of them; `used` is 1 for all of it."""

    index: int
    uuid: Token
    gpu_type: Token
    memory_bytes: int
    health: Literal["healthy", "degraded", "failed"]
    job_id: str
    used: Number
    holders: tuple[HolderOut, ...]


class RepairOut(Part):
    """The newest repair of a node."""

    id: str
    rung: str
    state: str
    dry_run: bool
    ordered_at: Moment


class NodeOut(Output):
    """A node. `conditions` are the worst first, at most 20."""

    node: NodeLine
    gpus: tuple[GpuOut, ...]
    conditions: tuple[ConditionOut, ...]
    repair: RepairOut | None
    driver_version: Token
    cuda_version: Token
    kernel: Token
    virtual_gpus: bool
    last_seen_at: Moment | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is told of nodes beside what they are made of."""

    holders: Holders
    wellness: Wellness
    conditions: Mapping[NodeId, Sequence[Condition]]
    incidents: Mapping[NodeId, IncidentId]


def surroundings(tx: Tx, found: Sequence[Node]) -> Surroundings:
    """Load what is told of these nodes, in a number of queries that does not grow with theirs."""
    node_ids = [node.id for node in found]
    only = node_ids[0] if len(node_ids) == 1 else None
    return Surroundings(
        gpu_holds.holders(tx, node_id=only),
        Wellness(conditions.gpu_health(tx, only), conditions.closed_hosts(tx, only)),
        conditions.of_nodes(tx, node_ids),
        incidents.open_ids(tx, node_ids),
    )


def node_line(node: Node, around: Surroundings) -> NodeLine:
    """Return a node as a list tells it."""
    return NodeLine(
        evidence_id=f"node:{node.id}",
        id=node.id,
        name=node.name,
        state=node.state.value,
        connected=node.connected,
        cordoned=node.cordoned,
        hold=node.hold.value if node.hold is not None else "",
        gpus=tuple(
            _count(gpu_type, count) for gpu_type, count in of_node(node, around.holders, around.wellness).items()
        ),
        pool=node.labels.get(POOL, ""),
        rack=node.labels.get(RACK, ""),
        conditions=len(around.conditions.get(node.id, ())),
        incident_id=around.incidents.get(node.id, ""),
    )


def _count(gpu_type: str, count: Count) -> GpuCount:
    return GpuCount(
        gpu_type=gpu_type,
        total=count.total,
        held=count.held,
        partly_held=count.partly,
        used=count.used,
        idle=count.idle,
        unwell=count.unwell,
    )


async def _list(sources: Sources, _principal: Principal, wanted: ListNodes) -> Found[NodePage]:
    states = (NodeState(wanted.state),) if wanted.state else ()
    which = NodeFilter(states, wanted.gpu_type or "")

    def read(tx: Tx) -> NodePage:
        page = nodes.page(tx, which, PageRequest(wanted.limit, wanted.page))
        around = surroundings(tx, page.items)
        return NodePage(nodes=tuple(node_line(node, around) for node in page.items), next_page=page.next_token)

    def filtered(tx: Tx) -> NodePage:
        """Whether a node is idle is in no column: look at the GPUs of all, which are known, and page by id."""
        view = sources.gpus.view(tx)
        rest = sorted((one for one in view.hosts if one[0].id > wanted.page), key=lambda one: one[0].id)
        in_state = (one for one in rest if not states or one[0].state in states)
        fitting = (host.id for host, gpus in in_state if _fits(host, gpus, view, wanted))
        found = list(islice(fitting, wanted.limit + 1))
        nodes.load(tx, found[: wanted.limit])
        shown = readable(tx, found[: wanted.limit], lambda node_id: nodes.resolve(tx, node_id), "a row of nodes")
        around = surroundings(tx, shown)
        return NodePage(
            nodes=tuple(node_line(node, around) for node in shown),
            next_page=found[wanted.limit - 1] if len(found) > wanted.limit else "",
        )

    output = await sources.store.read(read if wanted.idle is None else filtered)
    return Found(output, "nodes", empty=not output.nodes)


def _fits(host: NodeBrief, gpus: Sequence[GpuBrief], view: FleetView, wanted: ListNodes) -> bool:
    counts = of_host(host, gpus, view.holders, view.wellness)
    if wanted.gpu_type is not None:
        counts = {name: count for name, count in counts.items() if name.lower() == wanted.gpu_type.lower()}
        if not counts:
            return False
    return any(count.idle for count in counts.values()) is wanted.idle


async def _get(sources: Sources, _principal: Principal, wanted: GetNode) -> Found[NodeOut]:
    def read(tx: Tx) -> NodeOut:
        (node,) = nodes.with_sightings(tx, [nodes.resolve(tx, wanted.node)])
        return _node_out(node, surroundings(tx, [node]), repairs.latest(tx, node.id))

    output = await sources.store.read(read)
    return Found(output, output.node.evidence_id)


def _node_out(node: Node, around: Surroundings, repair: Repair | None) -> NodeOut:
    inventory = node.inventory
    unwell = around.wellness.gpus.get(node.id, {})
    return NodeOut(
        node=node_line(node, around),
        gpus=tuple(
            _gpu_out(gpu, unwell, around.holders.get(gpu.uuid, ()))
            for gpu in (inventory.gpus if inventory is not None else ())
        ),
        conditions=tuple(condition_out(node.id, one) for one in around.conditions.get(node.id, ())[:_CONDITIONS_TOLD]),
        repair=None
        if repair is None
        else RepairOut(
            id=repair.id,
            rung=repair.rung.name.lower(),
            state=repair.state.value,
            dry_run=repair.dry_run,
            ordered_at=repair.ordered_at,
        ),
        driver_version=inventory.driver_version if inventory is not None else "",
        cuda_version=inventory.cuda_version if inventory is not None else "",
        kernel=inventory.kernel if inventory is not None else "",
        virtual_gpus=inventory.virtual_gpus if inventory is not None else False,
        last_seen_at=node.last_seen_at,
    )


def _gpu_out(gpu: GpuInventory, unwell: Mapping[str, GpuHealth], held: Sequence[GpuHold]) -> GpuOut:
    return GpuOut(
        index=gpu.index,
        uuid=gpu.uuid,
        gpu_type=gpu.gpu_type,
        memory_bytes=gpu.memory_bytes,
        health=(unwell.get(gpu.uuid, gpu.health) if gpu.health is GpuHealth.HEALTHY else gpu.health).value,
        job_id=held[0].job_id if held else "",
        used=used_milli(gpu, held) / WHOLE_GPU_MILLI,
        holders=tuple(
            HolderOut(job_id=hold.job_id, share=share_milli(gpu, hold) / WHOLE_GPU_MILLI)
            for hold in held[:_HOLDERS_TOLD]
        ),
    )


LIST_NODES = ReadTool(
    name="list_nodes",
    description="Lists GPU hosts with their state and how many of their GPUs are held by jobs, idle or unwell.",
    arguments=ListNodes,
    result=NodePage,
    read=_list,
    untrusted=False,
)
GET_NODE = ReadTool(
    name="get_node",
    description="Tells all about one host: each GPU and the jobs on it with their shares, what is wrong with it, and "
    "its newest repair.",
    arguments=GetNode,
    result=NodeOut,
    read=_get,
    untrusted=False,
)
