"""Looks up the names in a goal that the planner, which is pure, cannot know: nodes, and jobs of the caller's own."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from control_plane.model.ids import UserId
from control_plane.model.plan import Plan
from control_plane.store import known_names
from control_plane.store.database import Store, Tx

if TYPE_CHECKING:
    from control_plane.agents.orchestrator.planner.known_names import KnownJob

_LIVE_MAX = 20


@dataclass(frozen=True, slots=True)
class _Named:
    """What bears one of the names, and the caller's jobs that have not ended where the goal is about one of them."""

    nodes: tuple[str, ...] = ()
    jobs: tuple[known_names.NamedJob, ...] = ()
    live: tuple[known_names.NamedJob, ...] = ()


async def with_known_names(store: Store, user_id: UserId, plan: Plan, text: str) -> Plan:
    """Return the plan with the one thing that its words name, or with a question where they name several.

    Nothing is read for a plan that lacks nothing.
    """
    wanted, mine = await asyncio.to_thread(_wanted, plan, text)
    named = await store.read(lambda tx: _look_up(tx, user_id, wanted, mine=mine)) if wanted or mine else _Named()
    return await asyncio.to_thread(_completed, plan, text, named)


def _wanted(plan: Plan, text: str) -> tuple[tuple[str, ...], bool]:
    """Return the words that may name what the plan lacks, and whether it is about a job of the caller's own."""
    # The planner's patterns take half of a cold start to compile: the first goal waits for them, in its thread.
    from control_plane.agents.orchestrator.planner import known_names as by_rules  # noqa: PLC0415 - see above
    from control_plane.agents.orchestrator.planner import own_jobs  # noqa: PLC0415 - see above

    return by_rules.names_wanted(plan, text), own_jobs.is_wanted(plan, text)


def _look_up(tx: Tx, user_id: UserId, names: Sequence[str], *, mine: bool) -> _Named:
    live = known_names.live_jobs(tx, user_id, limit=_LIVE_MAX) if mine else ()
    if not names:
        return _Named(live=live)
    return _Named(known_names.nodes_named(tx, names), known_names.jobs_named(tx, user_id, names), live)


def _completed(plan: Plan, text: str, named: _Named) -> Plan:
    from control_plane.agents.orchestrator.planner import known_names as by_rules  # noqa: PLC0415 - as above
    from control_plane.agents.orchestrator.planner import own_jobs  # noqa: PLC0415 - as above

    nodes: defaultdict[str, list[str]] = defaultdict(list)
    jobs: defaultdict[str, list[by_rules.KnownJob]] = defaultdict(list)
    for node in named.nodes:
        nodes[node.lower()].append(node)
    for job in named.jobs:
        jobs[job.name.lower()].append(_known(job))
    known = by_rules.Known({k: tuple(v) for k, v in nodes.items()}, {k: tuple(v) for k, v in jobs.items()})
    plan = by_rules.with_known_names(plan, text, known)
    return own_jobs.with_own_job(plan, text, [_known(job) for job in named.live]) if named.live else plan


def _known(job: known_names.NamedJob) -> "KnownJob":
    from control_plane.agents.orchestrator.planner import known_names as by_rules  # noqa: PLC0415 - as above

    return by_rules.KnownJob(job.id, job.name, job.state.value, ended=job.state.ended)
