"""Whether a placement can be carried out in the present state, whoever proposes it; if not, the first reason why."""

from collections.abc import Mapping

from control_plane.fleet import executors
from control_plane.fleet.placement.room import GpuSlot
from control_plane.fleet.placement.slots import can_share, parents, slots
from control_plane.fleet.topology import too_far
from control_plane.governor.repair_validity import Invalid
from control_plane.model.action import PlaceJob, Placement
from control_plane.model.ids import JobId
from control_plane.model.job import WHOLE_GPU_MILLI, Job, JobState, ResourceRequest
from control_plane.model.node import HostInventory, Node, NodeState
from control_plane.store import conditions, gpu_holds, jobs, neighbours, nodes
from control_plane.store.database import Tx
from control_plane.store.gpu_holds import GpuHold
from control_plane.store.neighbours import Neighbour


def invalid(tx: Tx, effect: PlaceJob) -> Invalid:
    """Return the reason code and text of what stands in the way of a placement, or None."""
    job = jobs.get(tx, effect.job_id, with_allocations=False)
    if job is None or job.state is not JobState.QUEUED or job.epoch + 1 != effect.epoch:
        return "STALE", f"job {effect.job_id} is no longer queued for attempt {effect.epoch}"
    waiting = [
        key for key, state in jobs.states(tx, set(job.spec.depends_on)).items() if state is not JobState.SUCCEEDED
    ]
    if waiting:
        return "DEPENDENCY_UNFINISHED", f"job {job.id} waits for {', '.join(waiting)}"
    found = _gang(job, effect)
    if found is not None:
        return found
    labels, held = [], []
    for placement in effect.placements:
        node = nodes.get(tx, placement.node_id)
        if node is None or node.state is not NodeState.READY or node.inventory is None:
            return "STALE", f"node {node.name if node else '?'} is not ready"
        if conditions.closed_hosts(tx, node.id):
            return "STALE", f"node {node.name} has a fatal condition"
        offered = slots(node.inventory, conditions.gpu_health(tx, node.id).get(node.id, {}))
        chosen = [slot for slot in offered if slot.uuid in placement.gpu_uuids]
        found = (
            _node(executors.asked(job.spec), node)
            or _neighbours(job, node, neighbours.on_node(tx, node.id))
            or _slots(node, placement, chosen, effect.gpu_type, job.spec.resources)
            or _free(tx, node, node.inventory, placement, job)
        )
        if found is not None:
            return found
        labels.append(node.labels)
        held += chosen
    far = too_far(job.spec.resources.topology, labels, held)
    return ("TOPOLOGY", f"job {job.id}: {far}") if far else None


def _gang(job: Job, effect: PlaceJob) -> Invalid:
    """All or nothing, evenly spread, on as many nodes and on a model that the job asked for."""
    resources, placements = job.spec.resources, effect.placements
    gpu_count = sum(len(set(placement.gpu_uuids)) for placement in placements)
    if gpu_count != resources.gpu_count or not placements:
        return "GANG", f"job {job.id} needs {resources.gpu_count} GPUs, not {gpu_count}: all or nothing"
    if len({placement.node_id for placement in placements}) != len(placements):
        return "GANG", f"job {job.id} has two members on one node"
    if [placement.rank for placement in placements] != list(range(len(placements))):
        return "GANG", f"the members of job {job.id} are not numbered from 0"
    if len(placements) != (resources.node_count or len(placements)):
        return "GANG", f"job {job.id} needs {resources.node_count} nodes, not {len(placements)}"
    if len({len(placement.gpu_uuids) for placement in placements}) != 1:
        return "GANG", f"the GPUs of job {job.id} are not spread evenly"
    acceptable = not resources.gpu_types or effect.gpu_type in resources.gpu_types
    if effect.gpu_type in resources.exclude_gpu_types or not acceptable or bool(effect.gpu_type) != bool(gpu_count):
        return "GPU_TYPES", f"job {job.id} does not run on {effect.gpu_type or 'no GPU'}"
    return None


def _node(wanted: ResourceRequest, node: Node) -> Invalid:
    has = executors.labels(node)
    if executors.stays_away(wanted, has):
        return "EXECUTOR", f"the jobs of node {node.name} are run by {has[executors.LABEL]}, and this one names it not"
    missing = [f"{key}={value}" for key, value in wanted.node_labels if has.get(key) != value]
    if missing:
        return "NODE_LABELS", f"node {node.name} has not the label {', '.join(missing)}"
    if node.id in wanted.exclude_nodes or node.name in wanted.exclude_nodes:
        return "NODE_EXCLUDED", f"the job must not run on {node.name}"
    return None


def _neighbours(job: Job, node: Node, present: tuple[Neighbour, ...]) -> Invalid:
    """A node is shared only by jobs that all let it be."""
    wanted = job.spec.resources
    for other in present:
        if wanted.exclusive_nodes or other.resources.exclusive_nodes:
            return "NODE_EXCLUSIVE", f"node {node.name} would be shared with {other.job_id}"
        apart = wanted.anti_affinity and wanted.anti_affinity == other.resources.anti_affinity
        if apart and other.team == job.team:
            return (
                "ANTI_AFFINITY",
                f"{other.job_id} on {node.name} has the word {wanted.anti_affinity} too: they never share a node",
            )
    cpu_milli = sum(other.resources.cpu_milli for other in present)
    memory_bytes = sum(other.resources.memory_bytes for other in present)
    inventory = node.inventory
    if inventory is not None and (
        (wanted.cpu_milli and cpu_milli + wanted.cpu_milli > inventory.cpu_count * 1000)
        or (wanted.memory_bytes and memory_bytes + wanted.memory_bytes > inventory.memory_bytes)
    ):
        return "STALE", f"node {node.name} has not enough CPU or memory left"
    return None


def _slots(node: Node, placement: Placement, chosen: list[GpuSlot], gpu_type: str, wanted: ResourceRequest) -> Invalid:
    missing = set(placement.gpu_uuids) - {slot.uuid for slot in chosen}
    if missing:
        return "STALE", f"GPU {min(missing)} does not serve on {node.name} as a {gpu_type}"
    for slot in chosen:
        if slot.gpu_type != gpu_type:
            return "STALE", f"GPU {slot.uuid} does not serve on {node.name} as a {gpu_type}"
        if slot.mig_profile != wanted.mig_profile:
            asked, there = wanted.mig_profile or "a whole GPU", slot.mig_profile or "a whole GPU"
            return "MIG_PROFILE", f"the job asks for {asked}, and {slot.uuid} on {node.name} is {there}"
        if slot.memory_bytes < wanted.min_gpu_memory_bytes:
            return "GPU_MEMORY", f"GPU {slot.uuid} on {node.name} has less memory than the job needs"
    return None


def _free(tx: Tx, node: Node, inventory: HostInventory, placement: Placement, job: Job) -> Invalid:
    """What others hold of a GPU and this part of it are together no more than there is, of it and of its memory."""
    wanted = job.spec.resources
    milli = wanted.gpu_milli or WHOLE_GPU_MILLI
    if wanted.gpu_milli and placement.gpu_uuids and not can_share(inventory):
        return "GPU_SHARES", f"node {node.name} cannot divide its GPUs among jobs"
    held, by_gpu, device_of = gpu_holds.parts(tx, node.id), gpu_holds.holds(tx, node_id=node.id), parents(inventory)
    memory_of = {gpu.uuid: gpu.memory_bytes for gpu in inventory.gpus}
    for gpu_uuid in placement.gpu_uuids:
        divided = _otherwise_held(gpu_uuid, held, device_of, by_gpu)
        if divided is not None:
            return "STALE", f"GPU {device_of.get(gpu_uuid, gpu_uuid)} is held as {divided.gpu_uuid} by {divided.job_id}"
        holders = held.get(gpu_uuid, ())
        if sum(one.milli for one in holders) + milli > WHOLE_GPU_MILLI:
            who = ", ".join(one.job_id for one in holders)
            return "STALE", f"GPU {gpu_uuid} is held by {who}"
        total = memory_of.get(gpu_uuid, 0)
        if wanted.gpu_milli and _memory(tx, [one.job_id for one in holders], total) + _part(wanted, total) > total:
            return "GPU_MEMORY", f"GPU {gpu_uuid} on {node.name} has not enough memory left for this part"
    return None


def _otherwise_held(
    gpu_uuid: str,
    held: Mapping[str, tuple[GpuHold, ...]],
    device_of: Mapping[str, str],
    by_gpu: Mapping[str, GpuHold],
) -> GpuHold | None:
    """Return who holds the GPU that a MIG device is on, or a device of this GPU: it was divided otherwise then."""
    if gpu_uuid in device_of:
        return next(iter(held.get(device_of[gpu_uuid], ())), None)
    holder = by_gpu.get(gpu_uuid)
    return holder if holder is not None and holder.gpu_uuid != gpu_uuid else None


def _memory(tx: Tx, holders: list[JobId], total: int) -> int:
    found = (jobs.get(tx, job_id, with_allocations=False) for job_id in holders)
    return sum(_part(job.spec.resources, total) for job in found if job is not None)


def _part(wanted: ResourceRequest, total: int) -> int:
    """Return the GPU memory that goes with a part, of a GPU with `total` bytes."""
    return wanted.share_memory_bytes or total * wanted.gpu_milli // WHOLE_GPU_MILLI
