"""Questions about what was spent by rules: by whom, in which period, added up by what; figures are those of a tool."""

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from control_plane.agents.orchestrator.runs.moves import Call, Finish, Move
from control_plane.agents.orchestrator.runs.rules.answering import answered, trouble
from control_plane.agents.orchestrator.runs.view import Json, RunView
from control_plane.agents.orchestrator.zones import zone_of
from control_plane.model.money import format_usd
from control_plane.model.run_step import Outcome
from control_plane.model.tool import ToolStatus

_DAYS = 30
_NO_TEAM = "TEAM_NOT_FOUND"
_SHOWN = 10
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,128}\w")
_EVERYBODY = re.compile(
    r"\b(we|us|our|everybody|everyone|all of us|the (?:fleet|company|team|cluster)|who|whose|people|in total|teams?|"
    r"users?)\b",
    re.IGNORECASE,
)
_COMPARED = re.compile(r"\b(compar\w+|versus|vs|than)\b", re.IGNORECASE)
_MINE = re.compile(r"\b(i|my|mine|me)\b", re.IGNORECASE)
_BY = (
    ("team", r"(?:by|per|each|every) teams?"),
    ("gpu_type", r"(?:by|per|each|every|which|what) (?:gpu|card|model)s?(?: (?:type|model)s?)?"),
    ("day", r"(?:by|per|each|every|which|what) days?|daily|a day|day by day"),
    ("goal", r"(?:by|per|each|every|which|what) goals?"),
    ("job", r"(?:by|per|each|every|which|what) (?:job|run|training|experiment)s?"),
    ("user", r"(?:by|per|each|every|which|what) (?:user|person|people|account)s?|who|whose"),
)
_BY_PATTERNS = tuple((key, re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)) for key, pattern in _BY)


def decide(view: RunView) -> Move:
    """Return the next call that the question about spending needs, or the answer."""
    text = "" if view.goal is None else view.goal.text
    who, whose, team = *_whose(text), view.plan.targets.team
    by = next((key for key, pattern in _BY_PATTERNS if pattern.search(text)), "user")
    told: list[str] = []
    for since, until, period in _periods(view):
        arguments: dict[str, object] = {"by": by, "since": since, "until": until, "limit": _SHOWN}
        meant = {"team": team} if team is not None else {"who": who} if who else {}
        found = view.look("costs", arguments | meant)
        if found is not None and team is not None and found.error_code == _NO_TEAM:
            # Where nobody has made teams, addresses may still tell who belongs together.
            meant = {"who": team}
            found = view.look("costs", arguments | meant)
        if found is None:
            return Call("costs", arguments | meant, f"see what was spent {period}")
        if found.status == ToolStatus.ERROR:
            return answered(view, trouble(found, "what was spent is not known"), ok=False)
        people = [str(one) for one in found.data.get("people", ())]
        if team is not None:
            if not found.data.get("team") and not people:
                return _no_such_team(view, team)
            whose = f"Team {found.data.get('team') or team}"
        members = f" ({', '.join(people)})" if team is not None and people else ""
        told.append(_sentence(found, f"{whose} spent", f"{period}{members}", now=until_now(view, until)))
        if by != "user" or team is not None or who != "me":
            told += _lines(found.data.get("lines", ()), by)
    alone = team is None and who == "me"
    return _with_budget(view, told) if alone else answered(view, "\n".join(told))


def _sentence(found: Outcome, spent: str, period: str, *, now: bool) -> str:
    told = f"{spent} {_usd(found.data.get('total_usd'))} {period}"
    reserved = f"; {_usd(found.data.get('reserved_usd'))} is reserved for jobs that run or wait" if now else ""
    return f"{told}{reserved}."


def until_now(view: RunView, until: str) -> bool:
    """Whether a period ends with the question: what is reserved now belongs to it."""
    return view.goal is not None and until == view.goal.created_at.isoformat()


def _periods(view: RunView) -> list[tuple[str, str, str]]:
    """Return since when and until when, seen from the question's own time, and how a person calls that.

    There is one, or the two that the question compares.
    """
    # The planner's patterns are compiled by the first goal; after a restart this question may be the first.
    from control_plane.agents.orchestrator.planner.periods import last_days, read_periods  # noqa: PLC0415 - see above

    if view.goal is None:
        raise LookupError(f"run {view.run.id} has no goal")
    asked_at = view.goal.created_at
    found = read_periods(view.goal.text, asked_at, zone_of(view.goal.timezone)) or (last_days(asked_at, _DAYS),)
    compared = 2 if _COMPARED.search(view.goal.text) else 1
    return [(one.since.isoformat(), one.until.isoformat(), one.words) for one in found[:compared]]


def _whose(text: str) -> tuple[str, str]:
    """Return the text that the addresses meant hold, "me" or "" for everybody, and how the answer calls them."""
    address = _ADDRESS.search(text)
    if address is not None:
        return address.group(), address.group()
    if _EVERYBODY.search(text) and not _MINE.search(text):
        return "", "All people together"
    return "me", "You"


def _no_such_team(view: RunView, team: str) -> Finish:
    text = (
        f"There is no team {team} that OrQuanta knows of, and nobody who has run a job has {team!r} in their address. "
        "List the teams with: orquanta quota list. Ask for one person by their address, or for all: what did we spend "
        "by person?"
    )
    return answered(view, text)


def _with_budget(view: RunView, told: list[str]) -> Move:
    left = view.look("budget_left", {})
    if left is None:
        return Call("budget_left", {}, "see what is left of the budget")
    limit = left.data.get("left_usd")
    budget = "You have no budget limit." if limit is None else f"{_usd(limit)} of your budget is left."
    return answered(view, f"{told[0]} {budget}" if len(told) == 1 else "\n".join((*told, budget)))


def _lines(found: Iterable[Json], by: str) -> Iterable[str]:
    for one in found:
        if isinstance(one, dict):
            key = one.get("key") or {"goal": "no goal", "team": "no team"}.get(by, "unknown")
            yield f"- {key}: {_usd(one.get('cost_usd'))} for {_hours(one.get('gpu_hours'))} GPU-hours"


def _hours(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "0.00"


def _usd(value: object) -> str:
    try:
        return format_usd(Decimal(str(value or 0)))
    except InvalidOperation:
        return "$0.00"
