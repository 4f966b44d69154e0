"""Facts: a value together with the places in the text it was read from."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from control_plane.agents.orchestrator.planner.text import Span

Value_co = TypeVar("Value_co", covariant=True)
_Value = TypeVar("_Value")

GOAL = "goal"


@dataclass(frozen=True, slots=True)
class Fact(Generic[Value_co]):
    """A value and the spans of the text (the goal, or an answer) that say so."""

    value: Value_co
    spans: tuple[Span, ...]
    source: str = GOAL


def value_of(fact: Fact[_Value] | None) -> _Value | None:
    """Return what a fact says, or None."""
    return fact.value if fact is not None else None
