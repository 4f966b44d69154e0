"""Looks up the names in a goal that the planner, which is pure, cannot know: nodes, and jobs of the caller's own."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.model.ids import UserId
from control_plane.model.plan import Plan
from control_plane.store import known_names
from control_plane.store.database import Tx


@dataclass(frozen=True, slots=True)
class Named:
    """What bears one of the names."""

    nodes: tuple[str, ...] = ()
    jobs: tuple[known_names.NamedJob, ...] = ()


def names_wanted(plan: Plan, text: str) -> tuple[str, ...]:
    """Return the words that may name what the plan lacks."""
    # The planner's patterns take half of a cold start to compile: the first goal waits for them, in its thread.
    from control_plane.agents.orchestrator.planner import known_names as by_rules  # noqa: PLC0415 - see above

    return by_rules.names_wanted(plan, text)


def look_up(tx: Tx, user_id: UserId, names: Sequence[str]) -> Named:
    """Return what bears one of the names; nothing is read where there are none."""
    if not names:
        return Named()
    return Named(known_names.nodes_named(tx, names), known_names.jobs_named(tx, user_id, names))


def with_known_names(plan: Plan, text: str, named: Named) -> Plan:
    """Return the plan with the one thing that its words name, or with a question where they name several."""
    from control_plane.agents.orchestrator.planner import known_names as by_rules  # noqa: PLC0415 - as above

    nodes: defaultdict[str, list[str]] = defaultdict(list)
    jobs: defaultdict[str, list[by_rules.KnownJob]] = defaultdict(list)
    for node in named.nodes:
        nodes[node.lower()].append(node)
    for job in named.jobs:
        jobs[job.name.lower()].append(by_rules.KnownJob(job.id, job.name, job.state.value, ended=job.state.ended))
    known = by_rules.Known({k: tuple(v) for k, v in nodes.items()}, {k: tuple(v) for k, v in jobs.items()})
    return by_rules.with_known_names(plan, text, known)
