"""Scaling goals by rules: through the jobs of the goal's own person; what needs hosts, a person must do."""

import shlex
from typing import Any

from control_plane.agents.orchestrator.runs.moves import Call, Finish, Move
from control_plane.agents.orchestrator.runs.view import Json, RunView
from control_plane.model.run import RunState
from control_plane.model.tool import ToolStatus

_ACTIVE = ("queued", "placed", "running")
_JOBS_MAX = 100
_STOPS_MAX = 16
"""Jobs that one scaling goal stops or launches at most."""


def decide(view: RunView) -> Move:
    """Return the next move: find the replicas, then stop the newest or launch more until the number is right."""
    pool = view.plan.targets.pool
    subject = view.plan.subject
    if pool is None and view.plan.targets.job_ids:
        return _one_job(view, view.plan.targets.job_ids[0])
    if pool is None and _speaks_of_own(view):
        return _no_job(view)
    wanted = None if subject is None else subject.gpu.replicas
    if pool is None or wanted is None or (subject is not None and subject.gpu.nodes is not None):
        return _hosts(view)
    arguments = {"user": "me", "limit": _JOBS_MAX}
    found = view.look("list_jobs", arguments)
    if found is None:
        return Call("list_jobs", arguments, f"find the replicas of {pool}")
    named = [one for one in found.data.get("jobs", ()) if _is_replica(one, pool)]
    active = [one for one in named if one.get("state") in _ACTIVE]
    if not named:
        return _hosts(view)
    if len(active) == wanted:
        return Finish(RunState.SUCCEEDED, f"{pool} has {wanted} replicas already.", "", view.evidence())
    if len(active) > wanted:
        return _fewer(view, pool, active, wanted)
    return _more(view, pool, named[0], len(active), wanted)


def settle(view: RunView, answer: str) -> Move:
    """Return what follows from a model's answer: what was done is told by code beside it."""
    done = [
        f"- {step.intent.name}: {outcome.data.get('outcome') or outcome.data.get('error') or outcome.status}"
        for step, outcome in view.calls()
        if outcome.action_id is not None
    ]
    told = "\n".join(done) if done else "nothing was changed."
    failed = any(
        outcome.status in (ToolStatus.DENIED, ToolStatus.ERROR) for _, outcome in view.calls() if outcome.action_id
    )
    state = RunState.FAILED if failed or not done else RunState.SUCCEEDED
    return Finish(state, f"{answer}\n\nChecked by code: {told}", told if failed else "", view.evidence())


def _speaks_of_own(view: RunView) -> bool:
    # The planner's patterns are compiled by the first goal; after a restart this goal may be the first.
    from control_plane.agents.orchestrator.planner.own_jobs import speaks_of_own  # noqa: PLC0415 - see above

    return view.goal is not None and speaks_of_own(view.goal.text)


def _no_job(view: RunView) -> Move:
    text = (
        "None of your jobs runs or waits, so there is none to change. Say what to run and on how many GPUs, for "
        "example: run `python train.py` on 4 H100"
    )
    return Finish(RunState.FAILED, text, "none of your jobs runs or waits", view.evidence())


def _one_job(view: RunView, job_id: str) -> Move:
    """A job keeps the GPUs that it was submitted with: say what it has, and how it goes on with another number."""
    shown = view.look("get_job", {"job": job_id})
    if shown is None:
        return Call("get_job", {"job": job_id}, "see what the job has now")
    if shown.status != ToolStatus.OK:
        text = str(shown.data.get("error") or shown.status)
        return Finish(RunState.FAILED, text, text, view.evidence())
    job, subject = shown.data.get("job", {}), view.plan.subject
    has, name = int(job.get("gpu_count") or 0), f"{job.get('name')} ({job.get('id')})"
    kind = " or ".join(map(str, job.get("gpu_types", ()))) or "GPUs"
    wanted = None if subject is None else subject.gpu.count
    if wanted == has:
        return Finish(RunState.SUCCEEDED, f"{name} has {has} {kind} already.", "", view.evidence())
    again = _submit_again(shown.data, "N" if wanted is None else str(wanted))
    loses = " What it has done since its last checkpoint is lost." if job.get("state") == "running" else ""
    text = (
        f"{name} is {job.get('state')} with {has} {kind}, and a job keeps the number that it was submitted with, so "
        f"nothing was changed. To run it on {wanted if wanted is not None else 'another number'}, cancel it: orquanta "
        f"job cancel {job.get('id')}, and submit it again: {again}.{loses}"
    )
    return Finish(RunState.FAILED, text, "a job keeps the number of its GPUs", view.evidence())


def _submit_again(data: Json, wanted: str) -> str:
    job = data.get("job", {})
    types = "".join(f" --gpu-type {one}" for one in job.get("gpu_types", ()))
    image = f" --image {data['image']}" if data.get("image") else ""
    template = f" --template {data['template']}" if data.get("template") else ""
    command = f" -- {shlex.quote(str(data['command']))}" if data.get("command") else ""
    return f"orquanta job submit --name {job.get('name')} --gpus {wanted}{types}{image}{template}{command}"


def _is_replica(job: Json, pool: str) -> bool:
    name = str(job.get("name", "")).lower()
    return name == pool.lower() or name.startswith(f"{pool.lower()}-")


def _fewer(view: RunView, pool: str, active: list[Json], wanted: int) -> Move:
    """Stop the newest: the oldest have warmed up."""
    stopping = active[: min(len(active) - wanted, _STOPS_MAX)]
    lines = []
    for job in stopping:
        arguments = {"job": str(job.get("id")), "reason": f"{pool} is scaled to {wanted} replicas"}
        outcome = view.look("stop_job", arguments)
        if outcome is None:
            return Call("stop_job", arguments, f"{pool} has {len(active)} replicas and shall have {wanted}")
        if outcome.status != ToolStatus.OK:
            text = str(outcome.data.get("error") or outcome.data.get("outcome") or outcome.status)
            return Finish(RunState.FAILED, f"{pool}: {text}", text, view.evidence())
        lines.append(str(outcome.data.get("outcome", "")))
    left = len(active) - len(stopping)
    text = f"{pool} has {left} of {wanted} wanted replicas; stopped {len(stopping)}.\n" + "\n".join(lines)
    return Finish(RunState.SUCCEEDED if left == wanted else RunState.FAILED, text, "", view.evidence())


def _more(view: RunView, pool: str, model: Json, active: int, wanted: int) -> Move:
    """Launch more of the same as the newest replica."""
    shown = view.look("get_job", {"job": str(model.get("id"))})
    if shown is None:
        return Call("get_job", {"job": str(model.get("id"))}, f"see what a replica of {pool} is")
    if shown.status != ToolStatus.OK:
        text = str(shown.data.get("error") or shown.status)
        return Finish(RunState.FAILED, f"{pool}: {text}", text, view.evidence())
    missing = min(wanted - active, _STOPS_MAX)
    arguments = {"jobs": [_like(shown.data, f"{pool}-{view.run.id[-4:]}-{number}") for number in range(1, missing + 1)]}
    launched = view.look("launch_jobs", arguments)
    if launched is None:
        return Call("launch_jobs", arguments, f"{pool} has {active} replicas and shall have {wanted}")
    if launched.status != ToolStatus.OK:
        text = str(launched.data.get("error") or launched.data.get("outcome") or launched.status)
        return Finish(RunState.FAILED, f"{pool}: {text}", text, view.evidence())
    text = f"{pool} gets {missing} more of {wanted} wanted replicas: {launched.data.get('outcome', '')}"
    return Finish(RunState.SUCCEEDED, text, "", view.evidence())


def _like(data: Json, name: str) -> dict[str, Any]:  # Any: JSON
    """Return the wish for another job of the same kind."""
    job = data.get("job", {})
    wish: dict[str, Any] = {"name": name, "gpu_count": job.get("gpu_count", 0)}  # Any: JSON
    for field in ("command", "image", "template"):
        if data.get(field):
            wish[field] = data[field]
    if job.get("gpu_types"):
        wish["gpu_types"] = list(job["gpu_types"])
    if data.get("nodes_wanted"):
        wish["node_count"] = data["nodes_wanted"]
    if data.get("max_runtime_seconds"):
        wish["max_runtime_seconds"] = data["max_runtime_seconds"]
    return wish


def _hosts(view: RunView) -> Move:
    """Hosts are added and removed by people: say how things stand, and how it is done."""
    subject = view.plan.subject
    gpu_type = None if subject is None else subject.gpu.gpu_type
    arguments = {} if gpu_type is None else {"gpu_type": gpu_type}
    fleet = view.look("fleet_summary", arguments)
    if fleet is None:
        return Call("fleet_summary", arguments, "see how large the fleet is")
    pool = view.plan.targets.pool
    label = f" --label pool={pool}" if pool else ""
    have = "; ".join(
        f"{one['idle']} of {one['total']} {one['gpu_type']} idle"
        for one in fleet.data.get("gpu_types", ())
        if isinstance(one, dict)
    )
    text = (
        f"OrQuanta does not add or remove hosts by itself: a person must. The fleet has {have or 'no such GPU'} "
        f"[{fleet.evidence_id}]. To add a host: orquanta node token create{label}, then run the command that it "
        "shows on the host. To take one out: orquanta node drain NAME."
    )
    return Finish(RunState.FAILED, text, "hosts are added and removed by people", view.evidence())
