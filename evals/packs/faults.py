"""Faults on virtual hosts and failed jobs: is the root cause named, and does the evidence show it?"""

from collections.abc import Mapping
from functools import partial

from control_plane.agents.incidents.agent import Incidents
from control_plane.model.identity import Principal, Role
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.tool import ToolStatus
from control_plane.store import conditions, nodes
from evals.case import Case, Pack, Verdict
from evals.fault_score import Cited, Named, Truth, score
from evals.host_faults import FAULTS as HOST_FAULTS
from evals.host_faults import NOISE, HostFault
from evals.job_faults import FAULTS as JOB_FAULTS
from evals.job_faults import JobFault, output_of
from evals.lab import Lab, open_lab
from evals.packs import real_daemon
from evals.virtual_host import VirtualHost
from tests.control_plane.world import job_id, spec

FLOOR = 0.9


def pack(*, gameday: bool = True) -> Pack:
    """Return a case for each fault; with `gameday`, one more on a real daemon, once."""
    return Pack(
        "faults",
        "failed jobs and hosts: the root cause, with evidence that shows it",
        [
            *(Case(one.id, partial(_job, one)) for one in JOB_FAULTS),
            *(Case(one.id, partial(_host, one)) for one in HOST_FAULTS),
            *(real_daemon.cases() if gameday else ()),
        ],
        floor=FLOOR,
    )


# Jobs.


async def _job(fault: JobFault) -> Verdict:
    async with open_lab() as lab:
        who = await lab.person("olga", Role.OPERATOR)
        await run_job(lab, fault)
        named = await named_for_job(lab, who)
        known = await _known(lab)
        written = {rank: output_of(fault, rank).encode() for rank in range(fault.ranks)}
        return score(Truth(fault.roots, fault.shown_by), named, lambda one: exists(one, written, known))


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


async def _known(lab: Lab) -> Mapping[str, str]:
    """Return what hosts have told, by the id that cites it."""
    found: dict[str, str] = {}
    for node in await lab.world.store.read(nodes.active):
        for one in await lab.world.store.read(partial(conditions.of_node, node_id=node.id)):
            found[f"condition:{node.id}/{one.id}"] = f"{one.kind} {one.code} {one.summary}"
            found |= {piece.id: piece.text for piece in one.evidence}
    return found


# Hosts.


async def _host(fault: HostFault) -> Verdict:
    async with open_lab() as lab:
        who = await lab.person("olga", Role.OPERATOR)
        node = await lab.node()
        agent = Incidents(lab.world.store, lab.world.governor)
        virtual = VirtualHost(lab, node)
        virtual.samples(10)
        virtual.kernel(*NOISE)
        virtual.kernel(*fault.lines)
        virtual.samples(max(fault.seconds, 10), **fault.changes)
        await virtual.report()
        await agent.round()
        lab.world.clock.advance(5)
        await agent.round()
        known = await _known(lab)
        named = await named_for_host(lab, who, node.name, known)
        truth = Truth(frozenset({fault.root}), (fault.shown_by,))
        return score(truth, named, lambda one: one.id in known)


async def named_for_host(lab: Lab, who: Principal, name: str, known: Mapping[str, str]) -> Named:
    """Ask the tools what is wrong with a host: its incident, or if none was opened the conditions that are bad."""
    listed = await lab.call(who, "list_incidents", node=name)
    if listed.status is ToolStatus.OK:
        told = await lab.call(who, "get_incident", incident=str(listed.data["incidents"][0]["id"]))
    else:
        told = await lab.call(who, "node_conditions", node=name)
    bad = [one for one in told.data.get("conditions", ()) if one["severity"] != "info"]
    kinds = tuple(f"{one['kind']}_{one['code']}" if one["code"] else str(one["kind"]) for one in bad)
    ids = [str(cited) for one in bad for cited in (one["evidence_id"], *one["observations"])]
    return Named(kinds, tuple(Cited(one, known.get(one, "")) for one in ids))
