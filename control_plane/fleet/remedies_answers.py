"""Reads what a person answers to the question about a failed job: again, for how long, on which model, or not. Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from control_plane.fleet.cost import estimate_usd
from control_plane.fleet.remedies import Failure, Remedy, Room, more_memory
from control_plane.model.money import format_usd
from control_plane.model.run_replan import RemedyKind

_CHARACTERS_MAX: Final = 200
_SECONDS_MAX: Final = 366 * 86_400
_STOP: Final = re.compile(r"(?:stop|no|n|leave it|give up|don'?t)(?: thanks)?[.!]?", re.IGNORECASE)
_AGAIN: Final = re.compile(r"(?:run it )?(?:again|yes|y|ok|okay|retry|try again)[.!]?", re.IGNORECASE)
_TIME: Final = re.compile(
    r"(?:again )?(?:for )?(?P<number>\d{1,6}(?:\.\d{1,3})?) ?(?P<unit>d|days?|h|hrs?|hours?|m|mins?|minutes?)[.!]?",
    re.IGNORECASE,
)
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person wants done about a failed job. 0 seconds and no type: as it was."""

    again: bool
    seconds: int = 0
    gpu_type: str = ""


def read_answer(text: str, gpu_types: Collection[str]) -> Answer | None:
    """Return what an answer says, or None if it says neither; `gpu_types` are the models that were offered."""
    said = " ".join(text[:_CHARACTERS_MAX].split()).strip("'\"")
    if _STOP.fullmatch(said):
        return Answer(again=False)
    named = next((one for one in gpu_types if one.lower() == said.rstrip(".!").lower()), "")
    if named:
        return Answer(again=True, gpu_type=named)
    if gpu_types:  # it does not fit on the model that it had
        return None
    if _AGAIN.fullmatch(said):
        return Answer(again=True)
    time = _TIME.fullmatch(said)
    if time is None:
        return None
    seconds = int(Decimal(time["number"]) * _UNITS[time["unit"][0].lower()])
    return Answer(again=True, seconds=seconds) if 1 <= seconds <= _SECONDS_MAX else None


def as_answered(failure: Failure, room: Room, answer: Answer) -> Remedy:
    """Return what a person's answer comes to. What it costs was said to them; deadline and budget still hold."""
    if not answer.again:
        return Remedy(RemedyKind.GIVE_UP, "its owner said to leave it")
    if room.replans_left <= 0:
        return Remedy(RemedyKind.GIVE_UP, "its goal's jobs were run again as often as they may be", by_limit=True)
    resources = more_memory(failure, room)  # with what it had it would fail again, at its owner's cost
    if answer.gpu_type:
        more = _more(failure, room, answer)
        resources = replace(failure.spec.resources, gpu_types=(answer.gpu_type,), min_gpu_memory_bytes=more)
    seconds = answer.seconds or failure.spec.max_runtime_seconds
    if room.deadline_seconds is not None:
        seconds = min(seconds, int(room.deadline_seconds))
    if seconds < 1:
        return Remedy(RemedyKind.GIVE_UP, "the goal's deadline has passed", by_limit=True)
    spec = replace(failure.spec, resources=resources, max_runtime_seconds=seconds)
    needed = sum((estimate_usd(one, room.prices) for one in (spec, *room.dependents)), Decimal(0))
    if room.budget_left_usd is not None and needed > room.budget_left_usd:
        left = format_usd(max(room.budget_left_usd, Decimal(0)))
        text = f"another try may cost {format_usd(needed)}, and {left} is left of the goal's budget"
        return Remedy(RemedyKind.GIVE_UP, text, by_limit=True)
    return Remedy(RemedyKind.AS_ANSWERED, "run again as its owner said", resources, seconds)


def _more(failure: Failure, room: Room, answer: Answer) -> int:
    """Return the least memory of the offered model's GPUs that is more than the job had."""
    known = (one.memory_bytes for one in room.hosts if one.gpu_type == answer.gpu_type)
    larger = (memory for memory in known if memory > failure.gpu_memory_bytes)
    return min(larger, default=failure.spec.resources.min_gpu_memory_bytes)
