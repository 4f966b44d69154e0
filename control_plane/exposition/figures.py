"""What the books say in figures: counts alone, so that a look costs little whatever the size of the fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from control_plane.fleet.bounds import allowed
from control_plane.model.agent import AgentRecord
from control_plane.model.bounds import BoundScope
from control_plane.model.ids import JobId
from control_plane.store import actions, agents, bounds, conditions, goals, gpu_holds, incidents, jobs, nodes
from control_plane.store.database import Tx


@dataclass(frozen=True, slots=True)
class BookFigures:
    """Counts by state, and what else there is one of. Times are in seconds."""

    jobs: Mapping[str, int]
    goals: Mapping[str, int]
    nodes: Mapping[str, int]
    incidents: Mapping[str, int]
    conditions: Mapping[str, int]
    actions_awaiting: int
    held_gpus: Mapping[str, float]
    occupied_gpus: Mapping[str, int]
    oldest_wait_seconds: float
    out_of_service: int
    out_of_service_allowed: int
    agents: Sequence[AgentRecord]
    stopped: bool
    epoch: int
    started: Mapping[JobId, float] = field(default_factory=dict)


def read(tx: Tx, *, started_after: datetime, epoch: int) -> BookFigures:
    """Return the figures of now; `started` holds how long jobs waited that first ran since `started_after`."""
    fleet = bounds.fleet(tx)
    bound = bounds.load(tx).get(BoundScope.FLEET)
    return BookFigures(
        jobs={state.value: count for state, count in jobs.count_by_state(tx).items()},
        goals={state.value: count for state, count in goals.count_by_state(tx).items()},
        nodes={state.value: count for state, count in nodes.count_by_state(tx).items()},
        incidents={state.value: count for state, count in incidents.count_by_state(tx).items()},
        conditions=conditions.count_by_kind(tx),
        actions_awaiting=actions.count_awaiting(tx),
        held_gpus=gpu_holds.held_by_type(tx),
        occupied_gpus=gpu_holds.occupied_by_type(tx),
        oldest_wait_seconds=jobs.longest_wait_seconds(tx),
        out_of_service=fleet.out,
        out_of_service_allowed=fleet.total if bound is None else allowed(bound, fleet.total),
        agents=agents.every(tx),
        stopped=actions.kill_switch(tx).engaged,
        epoch=epoch,
        started=jobs.waits_of_started(tx, since=started_after),
    )
