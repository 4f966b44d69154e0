"""Judges recorded actions by other policies, with the values that they were judged by then."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from control_plane.errors import ResourceExhausted
from control_plane.governor.policy.expression import Values
from control_plane.governor.policy.judging import ask, strictest
from control_plane.governor.policy.model import Outcome, PolicySet
from control_plane.governor.ruling import Ruling
from control_plane.model.action import Action
from control_plane.store import actions, policy_sets
from control_plane.store.database import Store, Tx
from control_plane.store.policy_sets import JudgedInput

CHUNK: Final = 200
CPU_SECONDS_MAX: Final = 30.0
DIFFERENCES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """An action of which the files' ruling would have been another one, and the rules that speak now."""

    action: Action
    before: Ruling
    after: Ruling
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """How many actions were judged again, and which would have been judged otherwise, newest first."""

    actions: int
    differences: tuple[Difference, ...]


async def replay(store: Store, policies: PolicySet, *, since: datetime, actions_max: int) -> Replay:
    """Judge the newest actions since then again.

    Actions of which no values were kept are not counted. Raises ResourceExhausted when it takes too much time, or
    finds over 1,000 differences.
    """
    judged, spent = 0, 0.0
    differences: list[Difference] = []
    last: JudgedInput | None = None
    while judged < actions_max:
        limit = min(CHUNK, actions_max - judged)
        chunk = await store.read(partial(_load, since=since, last=last, limit=limit))
        if not chunk:
            break
        found, seconds = await asyncio.to_thread(_judge, policies, chunk)
        differences.extend(found)
        judged += len(chunk)
        spent += seconds
        last = chunk[-1][0]
        if spent > CPU_SECONDS_MAX or len(differences) > DIFFERENCES_MAX:
            raise ResourceExhausted(
                f"after {judged} actions there were {len(differences)} differences and {spent:.0f} s were spent; judge "
                "fewer actions at once (actions_max, since)",
                reason="REPLAY_TOO_LARGE",
            )
    return Replay(judged, tuple(differences))


def values_of(judged: JudgedInput, action: Action) -> dict[str, Any]:  # Any: nested JSON
    """Return what an action was judged by, with its frozen arguments in their place."""
    document: dict[str, Any] = json.loads(judged.input_json)  # Any: nested JSON
    document["action"]["arguments"] = json.loads(action.arguments_json)["arguments"]
    return document


def _load(tx: Tx, since: datetime, last: JudgedInput | None, limit: int) -> tuple[tuple[JudgedInput, Action], ...]:
    inputs = policy_sets.judged_since(tx, since, limit=limit, older_than=last)
    return tuple((one, actions.require(tx, one.action_id)) for one in inputs)


def _judge(policies: PolicySet, chunk: Sequence[tuple[JudgedInput, Action]]) -> tuple[list[Difference], float]:
    began = time.thread_time()
    found = []
    for judged, action in chunk:
        outcomes = tuple(one for one in ask(policies, Values(values_of(judged, action))) if one.matched)
        before, after = Ruling[judged.ruling], strictest(outcomes)
        if before is not after:
            found.append(Difference(action, before, after, outcomes))
    return found, time.thread_time() - began
