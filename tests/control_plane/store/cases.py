"""Incidents and repairs as tests of the store need them."""

from dataclasses import replace

from control_plane.model.ids import INCIDENT, REPAIR, IncidentId, new_id
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.node import Node
from control_plane.model.repair import (
    Repair,
    RepairOrigin,
    RepairState,
    Rung,
)
from tests.control_plane.clinic import condition
from tests.control_plane.world import World


def incident(world: World, node: Node, **changes: object) -> Incident:
    now = world.clock.now()
    made = Incident(
        id=new_id(INCIDENT),
        node_id=node.id,
        node_name=node.name,
        state=IncidentState.OPEN,
        summary="trouble",
        diagnosis="evidence",
        status_reason="",
        observed_at=now,
        opened_at=now,
        version=1,
        conditions=(condition("a", now, gpu_uuid="GPU-1"),),
        active_ids=frozenset({"a"}),
        gpu_uuids=("GPU-1",),
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields of the incident by their names


def repair(world: World, node: Node, incident_id: IncidentId | None = None, **changes: object) -> Repair:
    made = Repair(
        id=new_id(REPAIR),
        node_id=node.id,
        incident_id=incident_id,
        action_id=None,
        origin=RepairOrigin.CONTROL_PLANE,
        rung=Rung.RESET_GPU,
        state=RepairState.PENDING,
        reason="because",
        ordered_at=world.clock.now(),
        gpu_uuids=("GPU-1",),
        process_ids=(7,),
        condition_ids=("a",),
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields of the repair by their names
