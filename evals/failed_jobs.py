"""Failed jobs in a lab: lets one fail, asks why, and tells whether what is cited is there."""

from collections.abc import Mapping
from functools import partial

from control_plane.model.identity import Principal
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.tool import ToolStatus
from control_plane.store import conditions, nodes
from evals.fault_score import Cited, Named
from evals.job_faults import JobFault, output_of
from evals.lab import Lab
from evals.virtual_host import VirtualHost
from tests.control_plane.world import job_id, spec


async def run_job(lab: Lab, fault: JobFault) -> None:
    """Let a gang run, one rank a host, and fail in this way."""
    world = lab.world
    hosts = [await lab.node(f"host-{rank}", gpu=1) for rank in range(fault.ranks)]
    other = await world.user("ada")
    await world.launch(other, spec("train", gpu=fault.ranks, nodes=fault.ranks if fault.ranks > 1 else 0))
    await world.place("train", *((host, [0]) for host in hosts))
    for rank in range(fault.ranks):
        await world.report("train", AllocationState.RUNNING, rank=rank)
    world.clock.advance(300)
    for rank in range(fault.ranks):
        text = output_of(fault, rank)
        await lab.wrote("train", text, rank=rank, delay_seconds=fault.delay_seconds.get(rank, 0.0))
    for rank, (code, words) in fault.xid.items():
        virtual = VirtualHost(lab, hosts[rank])
        virtual.kernel(f"NVRM: Xid (PCI): {code}, pid='<unknown>', name=<unknown>, {words}")
        await virtual.report()
    first = min(range(fault.ranks), key=lambda rank: (fault.delay_seconds.get(rank, 0.0), rank))
    order = [first, *(rank for rank in range(fault.ranks) if rank != first)]
    for rank in order:
        world.clock.advance(1)
        reason = fault.reason if rank == first else ExitReason.EXITED
        code_of = fault.exit_code if rank == first else 1
        await world.report("train", AllocationState.ENDED, reason, rank=rank, epoch=1, exit_code=code_of)


async def named_for_job(lab: Lab, who: Principal) -> Named:
    """Ask the tool why the job failed."""
    result = await lab.call(who, "diagnose_job", job=job_id("train"), attempt=1)
    if result.status not in (ToolStatus.OK, ToolStatus.NO_DATA):
        return Named((), ())
    cited = tuple(Cited(str(one["evidence_id"]), str(one["text"])) for one in result.data["evidence"])
    return Named((str(result.data["cause"]), *map(str, result.data["alternatives"])), cited)


def exists(cited: Cited, written: Mapping[int, bytes], known: Mapping[str, str]) -> bool:
    """Whether something is there as cited: a line of a log at its offset, or a condition or job that is known."""
    kind, _, rest = cited.id.partition(":")
    if kind == "log":
        _, rank, offset = rest.rsplit("/", 2)
        line = written.get(int(rank), b"")[int(offset) :].partition(b"\n")[0].decode()
        return bool(line) and cited.text.rstrip("…").strip() in line
    if kind == "job":
        return rest.partition("/")[0] == job_id("train")
    return any(cited.id == one or cited.id.startswith(f"{one}/") for one in known)


async def known(lab: Lab) -> Mapping[str, str]:
    """Return what hosts have told, by the id that cites it."""
    found: dict[str, str] = {}
    for node in await lab.world.store.read(nodes.active):
        for one in await lab.world.store.read(partial(conditions.of_node, node_id=node.id)):
            found[f"condition:{node.id}/{one.id}"] = f"{one.kind} {one.code} {one.summary}"
            found |= {piece.id: piece.text for piece in one.evidence}
    return found
