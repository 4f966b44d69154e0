"""Wishes that no goal can carry out, where they are all that a goal says, and what a person does instead."""

import re

_LEAD = r"[ \n]*(?:(?:please|pls|can you|could you|now|hey)[ ,]*)*"
_JOB = (
    r"(?: (?:my|our|the|this|that|a|last|latest|failed|current|running|old|previous|whole|long|long-running)){0,5}"
    r" (?:jobs?|runs?|trainings?|goals?|tasks?|experiments?|fine-?tun(?:e|ing))(?: \S{1,40})?"
)
_TAIL = r"(?: (?:please|pls|now|again|for now|for a while|until \S{1,20}|tonight|today|thanks))*[ .!?\n]*"


def _alone(verbs: str, after: str = "") -> re.Pattern[str]:
    return re.compile(f"{_LEAD}(?:{verbs}){_JOB}{after}{_TAIL}")


_PAUSED = (
    "A job cannot be paused. Cancel it with: orquanta job cancel JOB. Submitted again, it goes on from its last "
    "checkpoint if it keeps any. What should be done?"
)
_AGAIN = (
    "A job that has ended is run again by submitting it again: orquanta job show JOB tells what it ran, and orquanta "
    "job submit runs that. What should be run, and on which GPUs?"
)
_MOVED = (
    "A job is not moved by a goal: it moves when its host is drained, which takes the role operator: orquanta node "
    "drain HOST. What should be done?"
)
_WISHES = (
    (_alone("pause|suspend|hold|put on hold"), _PAUSED),
    (_alone("re-?try|re-?run|redo|re-?submit|repeat"), _AGAIN),
    (_alone("move|migrate|shift", r" (?:to|onto|over to|from|off) \S{1,40}"), _MOVED),
)


def instead(text: str) -> str | None:
    """Return what to do instead of what a folded goal asks for, and of nothing else; None for what can be done."""
    return next((told for pattern, told in _WISHES if pattern.fullmatch(text)), None)
