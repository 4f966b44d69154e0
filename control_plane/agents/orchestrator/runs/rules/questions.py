"""Questions about the fleet, jobs and money by rules: the tools that fit are called, and their figures are told."""

import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

from control_plane.agents.orchestrator.asked_names import AskedName, read_asked_name
from control_plane.agents.orchestrator.runs.moves import Call, Move
from control_plane.agents.orchestrator.runs.rules import jobs_listed, money
from control_plane.agents.orchestrator.runs.rules.answering import answered, trouble
from control_plane.agents.orchestrator.runs.rules.hosts_told import about_node
from control_plane.agents.orchestrator.runs.rules.jobs_listed import job_lines, job_words
from control_plane.agents.orchestrator.runs.rules.nearest import nearest_jobs, nearest_nodes
from control_plane.agents.orchestrator.runs.view import Json, RunView
from control_plane.model.plan import Intent
from control_plane.model.tool import ToolStatus

_SHOWN = 10
_DIAGNOSE = "diagnose_job"
_SPENT = re.compile(
    r"\b(spen[dt]|spendings?|bills?|billed|charged|owe|budget|paid|burn(ed|t)?|invoiced?|expenses?|cost (us|me))\b",
    re.IGNORECASE,
)
_WHY = re.compile(r"\b(why|fail(ed|s|ure)?|crash(ed)?|die[ds]?|wrong|error|log|logs)\b", re.IGNORECASE)
_QUEUE = re.compile(
    r"\b(queue[ds]?|waiting|pending|wait|(?:until|when|before)\b.{0,40}\bstarts?|when will\b.{0,40}\b(?:run|begin))\b",
    re.IGNORECASE,
)
_MINE = re.compile(r"\b(my|mine|i|(?<!show )(?<!tell )(?<!give )me)\b", re.IGNORECASE)
_JOBS = re.compile(r"\b(jobs?|runs?|trainings?)\b", re.IGNORECASE)
_TROUBLE = re.compile(
    r"\b(incidents?|broken|unhealthy|faults?|sick|xid|quarantined|bad|degraded|troubles?|happened|went wrong)\b",
    re.IGNORECASE,
)
_NODES = re.compile(r"\b(nodes?|hosts?|machines?|servers?)\b", re.IGNORECASE)
_PRICE = re.compile(r"\b(price[ds]?|cost(s|ing)?|rate|cheap(er|est)?|expensive|per hour)\b", re.IGNORECASE)


def decide(view: RunView) -> Move:
    """Return the next call that the question needs, or the answer."""
    text = "" if view.goal is None else view.goal.text
    targets = view.plan.targets
    if targets.job_ids:
        return _each(view, targets.job_ids, _about_job)
    if targets.nodes:
        return _each(view, targets.nodes, about_node)
    if _about_spending(view, text):
        return money.decide(view)
    asked = read_asked_name(text)
    if asked is not None:
        return _unknown(view, asked)
    return _by_words(view, text)


def _by_words(view: RunView, text: str) -> Move:
    """Return the move for a question that names nothing, by what its words are about."""
    if _QUEUE.search(text):
        return _queue(view, mine=bool(_MINE.search(text)))
    if jobs_listed.is_asked(text):
        return jobs_listed.decide(view, text, mine=bool(_MINE.search(text)))
    if _WHY.search(text) and _JOBS.search(text):
        return _last_failed(view)
    if _TROUBLE.search(text):
        return _incidents(view)
    if view.plan.intent is Intent.COST or _PRICE.search(text):
        return _fleet(view, prices=True)
    if _JOBS.search(text):
        return jobs_listed.decide(view, text, mine=bool(_MINE.search(text)))
    if _NODES.search(text):
        return _nodes(view)
    return _fleet(view, prices=False)


def _about_spending(view: RunView, text: str) -> bool:
    """Whether a question is about what was spent; in other languages the planner has said so."""
    said = view.plan.intent is Intent.QUERY and "spending" in view.plan.summary
    return bool(_SPENT.search(text)) or said


def _unknown(view: RunView, asked: AskedName) -> Move:
    """Tell that nothing bears a name: a known one has become a target, and another job is never answered about."""
    offers = []
    for wanted, near in ((asked.job, nearest_jobs), (asked.node, nearest_nodes)):
        offer = near(view, asked.name) if wanted else ""
        if isinstance(offer, Call):
            return offer
        offers.append(offer)
    what = {(True, False): "You have no job", (False, True): "There is no host"}.get((asked.job, asked.node))
    return answered(
        view, f"{what or 'You have no job, and there is no host,'} named {asked.name}.{'.'.join(filter(None, offers))}"
    )


def _each(view: RunView, names: tuple[str, ...], about: Callable[[RunView, str], Move | str]) -> Move:
    lines = []
    for name in names[:_SHOWN]:
        told = about(view, name)
        if not isinstance(told, str):
            return told
        lines.append(told)
    return answered(view, "\n".join(lines))


def _about_job(view: RunView, name: str) -> Move | str:
    if name.startswith("g-"):
        found = view.look("get_goal", {"goal": name})
        if found is None:
            return Call("get_goal", {"goal": name}, f"see how {name} is")
        if found.status != ToolStatus.OK:
            return f"{name}: {trouble(found, 'nothing is known of it')}"
        goal = found.data.get("goal", {})
        return f"{name} is {goal.get('state')} {goal.get('reason') or ''}\n" + job_lines(found)
    found = view.look("get_job", {"job": name})
    if found is None:
        return Call("get_job", {"job": name}, f"see how {name} is")
    if found.error_code == "JOB_NOT_FOUND":
        near = nearest_jobs(view, name)
        return near if isinstance(near, Call) else f"There is no job {name}.{near}"
    if found.status != ToolStatus.OK:
        return f"{name}: {trouble(found, 'nothing is known of it')}"
    job = found.data.get("job", {})
    line = job_words(job)
    if job.get("state") == "queued":
        placed = view.look("job_placement", {"job": name})
        if placed is None:
            return Call("job_placement", {"job": name}, f"see why {name} waits")
        return f"{line} It waits: {placed.data.get('why') or job.get('reason') or 'no reason is known'}."
    if job.get("state") != "failed":
        return line
    return _why(view, name, line)


def _why(view: RunView, name: str, line: str) -> Move | str:
    """Tell why a job failed: a diagnosis where there is one, and else its last words."""
    found = view.look(_DIAGNOSE, {"job": name})
    if found is None and _DIAGNOSE in view.tools:
        return Call(_DIAGNOSE, {"job": name}, f"find out why {name} failed")
    if found is not None and found.status == ToolStatus.OK:
        summary, advice = found.data.get("summary", ""), found.data.get("advice", "")
        return f"{line} Cause: {found.data.get('cause', 'UNKNOWN')}. {summary} {advice}".strip()
    logs = view.look("job_logs", {"job": name, "lines": 5})
    if logs is None:
        return Call("job_logs", {"job": name, "lines": 5}, f"read the last words of {name}")
    last = [f"  {one.get('text', '')}  [{one.get('evidence_id', '')}]" for one in logs.data.get("lines", ())]
    if not last and logs.data.get("more_may_come"):
        return f"{line} What it wrote last is still on its way: ask again in half a minute."
    return line + ("\nIts last lines (its own words, not ours):\n" + "\n".join(last) if last else "")


def _last_failed(view: RunView) -> Move:
    """Tell about the person's newest failed job."""
    arguments = {"user": "me", "state": "failed", "limit": 1}
    found = view.look("list_jobs", arguments)
    if found is None:
        return Call("list_jobs", arguments, "find the newest failed job")
    failed = [one for one in found.data.get("jobs", ()) if isinstance(one, dict)]
    if not failed:
        return answered(view, "None of your jobs has failed.")
    told = _about_job(view, str(failed[0].get("id")))
    return answered(view, told) if isinstance(told, str) else told


def _queue(view: RunView, *, mine: bool) -> Move:
    arguments: dict[str, object] = {"state": "queued", "limit": _SHOWN, **({"user": "me"} if mine else {})}
    found = view.look("list_jobs", arguments)
    if found is None:
        return Call("list_jobs", arguments, "see what waits")
    waiting = [one for one in found.data.get("jobs", ()) if isinstance(one, dict)]
    if not waiting:
        return answered(view, "No job waits.")
    name = str(waiting[-1 if mine else 0].get("id"))
    placed = view.look("job_placement", {"job": name})
    if placed is None:
        return Call("job_placement", {"job": name}, f"see why {name} waits")
    more = " (and more)" if found.data.get("next_page") else ""
    why = placed.data.get("why") or "no reason is known"
    return answered(view, f"{len(waiting)} jobs wait{more}:\n{job_lines(found)}\n{name} waits: {why}.")


def _incidents(view: RunView) -> Move:
    found = view.look("list_incidents", {"limit": _SHOWN})
    if found is None:
        return Call("list_incidents", {"limit": _SHOWN}, "see what is wrong")
    open_ones = [
        one for one in found.data.get("incidents", ()) if isinstance(one, dict) and one.get("state") != "resolved"
    ]
    lines = [
        f"- {one.get('node')}: {', '.join(map(str, one.get('kinds', ())))}, {one.get('state')} ({one.get('id')})"
        for one in open_ones
    ]
    return answered(view, "\n".join(lines) or "No incident is open.")


def _nodes(view: RunView) -> Move:
    found = view.look("list_nodes", {"limit": 100})
    if found is None:
        return Call("list_nodes", {"limit": 100}, "see the hosts")
    listed = [one for one in found.data.get("nodes", ()) if isinstance(one, dict)]
    states = Counter(str(one.get("state")) for one in listed)
    odd = [f"- {one.get('name')}: {one.get('state')}" for one in listed if one.get("state") != "ready"][:_SHOWN]
    text = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    return answered(view, f"Hosts: {text}." + ("\n" + "\n".join(odd) if odd else ""))


def _fleet(view: RunView, *, prices: bool) -> Move:
    subject = view.plan.subject
    gpu_type = None if subject is None else subject.gpu.gpu_type
    arguments = {} if gpu_type is None else {"gpu_type": gpu_type}
    found = view.look("fleet_summary", arguments)
    if found is None:
        return Call("fleet_summary", arguments, "see the fleet")
    kinds = [one for one in found.data.get("gpu_types", ()) if isinstance(one, dict)]
    if not kinds:
        return answered(view, f"The fleet has no {gpu_type or 'GPU'}.")
    if prices:
        return answered(view, "\n".join(_priced(view, one) for one in kinds))
    gpus = ", ".join(f"{one['idle']} of {one['total']} {one['gpu_type']} idle{_in_part(one)}" for one in kinds)
    hosts = _counts(found.data.get("nodes_by_state"))
    work = _counts(found.data.get("jobs_by_state"))
    return answered(view, f"GPUs: {gpus}. Hosts: {hosts}. Jobs: {work}.")


def _in_part(kind: Json) -> str:
    """Return how many GPUs are not used as a whole, if there are any: no job can have all of one, and some a part."""
    partly = kind.get("partly_held")
    return f", {partly} used in part" if partly else ""


def _priced(view: RunView, kind: Json) -> str:
    """Return the price of a model and, where the question names a size and a time, of the whole; by code."""
    subject = view.plan.subject
    price = Decimal(str(kind.get("usd_per_gpu_hour", "0")))
    line = f"One {kind['gpu_type']} costs ${price:,.2f} an hour; {kind['idle']} of {kind['total']} are idle."
    if subject is None or subject.gpu.count is None:
        return line
    count, seconds = subject.gpu.count, subject.max_seconds
    if seconds is None:
        return line if count == 1 else f"{line} {count} cost ${price * count:,.2f} an hour."
    whole = price * count * Decimal(seconds) / 3600
    return f"{line} {count} for {seconds / 3600:g} hours cost ${whole:,.2f}."


def _counts(found: object) -> str:
    if not isinstance(found, dict) or not found:
        return "none"
    return ", ".join(f"{count} {state}" for state, count in sorted(found.items()) if count) or "none"
