"""Puts the parts together that drive runs; the composition root passes in what they need."""

from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.driver import Driver
from control_plane.agents.orchestrator.runs.effects import Effects
from control_plane.agents.orchestrator.runs.loop import RunLoop
from control_plane.agents.orchestrator.runs.ports import Diagnoser, Tools
from control_plane.bus.deltas import Deltas
from control_plane.reasoning.contract import Reasoner
from control_plane.store.database import Store


def run_loop(
    store: Store,
    orchestrator: Orchestrator,
    tools: Tools,
    *,
    reasoner: Reasoner | None,
    policy: RunPolicy,
    deltas: Deltas | None = None,
    diagnose: Diagnoser | None = None,
) -> RunLoop:
    """Return the loop that drives the runs of the orchestrator's goals."""
    effects = Effects(tools, reasoner, policy=policy, clock=store.clock, deltas=deltas)
    return RunLoop(store, Driver(store, effects, orchestrator.pursuit, policy=policy, diagnose=diagnose))
