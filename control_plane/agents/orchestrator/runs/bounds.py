"""How far a run may go, and how much of what it reads is shown."""

from dataclasses import dataclass, field
from typing import Final

from control_plane.model.run import DEFAULT_LIMITS, RunUsage

RESULT_CHARS_MAX: Final = 8_000
"""Of a run's result."""

CALLS_PER_TURN_MAX: Final = 8
"""Of the calls in one reply of a model the rest is left out, and it is told so."""

CHARS_PER_TOKEN: Final = 3
"""A token has about four characters of English; three is on the safe side for JSON and other languages."""


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """What bounds every run.

    `identical_reads` counts since the last write; `errors_in_row` are tool errors of one kind. At `warn_percent` of a
    limit the run is told what is left. A result above `shown_tokens` is shown by its head and tail. What a model is
    shown of a run stays below `context_tokens`: older observations are folded into one line each. `replans` is how
    often the failed jobs of its goal may be run again.
    """

    limits: RunUsage = field(default=DEFAULT_LIMITS)
    identical_reads: int = 3
    errors_in_row: int = 2
    model_seconds: float = 60.0
    warn_percent: int = 80
    shown_tokens: int = 2_000
    context_tokens: int = 12_000
    reply_tokens: int = 1_500
    tools_offered: int = 12
    replans: int = 2


def tokens(text: str) -> int:
    """Return how many tokens a text may have at most, roughly."""
    return len(text) // CHARS_PER_TOKEN + 1


def plain(text: str, most: int) -> str:
    """Return a stranger's text so that every database takes it: no NUL, no lone surrogates, at most `most` long."""
    return text[:most].replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
