"""What a person means who asks for a repair: names become ids, and what was left open follows from the conditions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from control_plane.errors import InvalidArgument, PreconditionFailed
from control_plane.fleet.ladder import asked, gpus_of
from control_plane.model.health import Condition
from control_plane.model.node import Node
from control_plane.model.repair import Rung

_PROCESSES_MAX = 16


@dataclass(frozen=True, slots=True)
class RepairWish:
    """A repair as it is asked for. `gpus` are UUIDs or indices; without a rung, the one that fits is meant."""

    rung: Rung | None
    gpus: Sequence[str] = ()
    service: str = ""


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """A repair with everything that its order needs. Without `gpu_uuids` all of the host is meant."""

    rung: Rung
    gpu_uuids: tuple[str, ...]
    service: str
    process_ids: tuple[int, ...]
    condition_ids: tuple[str, ...]


def plan(wish: RepairWish, node: Node, conditions: Collection[Condition]) -> RepairPlan:
    """Return the repair that is meant.

    Raises:
        InvalidArgument: GPU_UNKNOWN; the node has no such GPU, and none of its conditions is about one.
        PreconditionFailed: NO_REPAIR_FITS; no rung was named, and nothing asks for one.
    """
    gpu_uuids = tuple(dict.fromkeys(_uuid(gpu, node, conditions) for gpu in wish.gpus))
    meant = [one for one in conditions if not gpu_uuids or one.gpu_uuid in gpu_uuids]
    rung = wish.rung or asked(meant)
    if rung is None:
        raise PreconditionFailed(
            f"nothing that is wrong with {node.name} asks for a repair; name one with --rung, or test it with: "
            f"orquanta node verify {node.name}",
            reason="NO_REPAIR_FITS",
        )
    wanting = [one for one in meant if one.repair is rung and not one.acknowledged_by]
    if wish.rung is None and not gpu_uuids:
        gpu_uuids = gpus_of(wanting, rung)
    service = wish.service
    if rung is Rung.RESTART_SERVICE and not service:
        service = next((one.service for one in wanting if one.service), "")
    process_ids = [process_id for one in meant for process_id in one.process_ids] if rung is Rung.STOP_PROCESS else []
    return RepairPlan(
        rung=rung,
        gpu_uuids=gpu_uuids,
        service=service,
        process_ids=tuple(dict.fromkeys(process_ids))[:_PROCESSES_MAX],
        condition_ids=() if rung is Rung.VERIFY else tuple(one.id for one in meant if one.repair is not None),
    )


def _uuid(text: str, node: Node, conditions: Collection[Condition]) -> str:
    gpus = node.inventory.gpus if node.inventory is not None else ()
    for gpu in gpus:
        if text in (gpu.uuid, str(gpu.index)):
            return gpu.uuid
    if any(one.gpu_uuid == text for one in conditions):  # it fell off the bus, and is what the repair is about
        return text
    raise InvalidArgument(
        f"{node.name} has no GPU {text[:60]!a}; give an index or a UUID of: orquanta node show {node.name}",
        reason="GPU_UNKNOWN",
        metadata={"field": "gpus"},
    )
