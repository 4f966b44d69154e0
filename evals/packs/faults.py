"""Faults on virtual hosts and failed jobs: is the root cause named, and does the evidence show it?"""

from collections.abc import Mapping
from functools import partial

from control_plane.agents.incidents.agent import Incidents
from control_plane.model.identity import Principal, Role
from control_plane.model.tool import ToolStatus
from evals.case import Case, Pack, Verdict
from evals.failed_jobs import exists, known, named_for_job, run_job
from evals.fault_score import Cited, Named, Truth, score
from evals.host_faults import FAULTS as HOST_FAULTS
from evals.host_faults import NOISE, HostFault
from evals.job_faults import FAULTS as JOB_FAULTS
from evals.job_faults import JobFault, output_of
from evals.lab import Lab, open_lab
from evals.packs import model_causes, real_daemon
from evals.virtual_host import VirtualHost

FLOOR = 0.9


def pack(*, gameday: bool = True) -> Pack:
    """Return a case for each fault; with `gameday`, one more on a real daemon, once."""
    return Pack(
        "faults",
        "failed jobs and hosts: the root cause, with evidence that shows it",
        [
            *(Case(one.id, partial(_job, one)) for one in JOB_FAULTS),
            *(Case(one.id, partial(_host, one)) for one in HOST_FAULTS),
            *model_causes.cases(),
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
        told = await known(lab)
        written = {rank: output_of(fault, rank).encode() for rank in range(fault.ranks)}
        return score(Truth(fault.roots, fault.shown_by), named, lambda one: exists(one, written, told))


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
        told = await known(lab)
        named = await named_for_host(lab, who, node.name, told)
        truth = Truth(frozenset({fault.root}), (fault.shown_by,))
        return score(truth, named, lambda one: one.id in told)


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
