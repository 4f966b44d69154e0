"""Replies to goals that ask instead of launch, from the store, by rules."""

from collections import Counter

from control_plane.model.identity import Principal
from control_plane.model.ids import JobId
from control_plane.model.job import WHOLE_GPU_MILLI, JobState
from control_plane.model.money import format_usd
from control_plane.model.node import NodeState
from control_plane.model.plan import Intent, Plan
from control_plane.store import gpu_holds, jobs, nodes, users
from control_plane.store.database import Tx

NOT_YET = {
    Intent.HEAL: "repairs by goal are not available; look at the host with: orquanta node show, and take it out of "
    "scheduling with: orquanta node cordon",
    Intent.SCALE: "scaling by goal is not available; add a host with: orquanta node token create",
}
UNCLEAR = (
    "it is not clear what to do; say what to run, on which GPUs and for how long, for example: train on 2 H100 for 3 "
    "hours, at most $40, `python train.py`"
)

_STANDS = {
    JobState.SUCCEEDED: "has succeeded",
    JobState.FAILED: "has failed",
    JobState.CANCELLED: "was cancelled",
    JobState.RUNNING: "runs",
}


def reply(tx: Tx, principal: Principal, plan: Plan) -> str:
    """Return the answer to a question about jobs, money or the fleet. Reads only."""
    if plan.targets.job_ids:
        return "\n".join(_job(tx, job_id) for job_id in plan.targets.job_ids)
    if plan.intent is Intent.COST or "spen" in plan.summary.lower() or "cost" in plan.summary.lower():
        return _money(tx, principal)
    return _fleet(tx)


def _job(tx: Tx, job_id: str) -> str:
    job = jobs.get(tx, JobId(job_id))
    if job is None:
        return f"there is no job {job_id}"
    return (
        f"{job.spec.name} ({job.id}) {_STANDS.get(job.state, f'is {job.state.value}')}: {job.status_reason}; "
        f"cost so far {format_usd(job.cost_usd)}"
    )


def _money(tx: Tx, principal: Principal) -> str:
    user = users.require(tx, principal.user_id)
    limit = "no limit" if user.budget_usd is None else f"a limit of {format_usd(user.budget_usd)}"
    spent, reserved = format_usd(user.spent_usd), format_usd(user.reserved_usd)
    return f"{user.email} has spent {spent} and reserved {reserved}, with {limit}"


def _fleet(tx: Tx) -> str:
    held = gpu_holds.holders(tx)
    total: Counter[str] = Counter()
    free: Counter[str] = Counter()
    partly: Counter[str] = Counter()
    active = nodes.active(tx)
    for node in active:
        if node.state is NodeState.READY and node.inventory is not None:
            for gpu in node.inventory.gpus:
                total[gpu.gpu_type] += 1
                free[gpu.gpu_type] += gpu.uuid not in held
                used = gpu_holds.used_milli(gpu, held.get(gpu.uuid, ()))
                partly[gpu.gpu_type] += 0 < used < WHOLE_GPU_MILLI
    states = Counter(node.state.value for node in active)
    gpus = (
        ", ".join(
            f"{free[kind]} of {count} {kind} free" + (f", {partly[kind]} used in part" if partly[kind] else "")
            for kind, count in sorted(total.items())
        )
        or "no GPU is ready"
    )
    hosts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    work = ", ".join(f"{count} {state.value}" for state, count in jobs.count_by_state(tx).items()) or "none"
    return f"GPUs: {gpus}. Nodes: {hosts}. Jobs: {work}."
