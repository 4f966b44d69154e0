"""What one attempt at an endpoint can end in. None of these leaves the reasoning package."""

from dataclasses import dataclass

from control_plane.reasoning.contract import ModelToolCall


@dataclass(frozen=True, slots=True)
class RawReply:
    """An answer as it came, bounded and printable, nothing of it believed.

    Tokens are None where the endpoint did not tell them.
    """

    text: str
    calls: tuple[ModelToolCall, ...]
    input_tokens: int | None
    output_tokens: int | None
    truncated: bool


class AttemptFailed(Exception):
    """An attempt gave no answer. `may_cost` tells that tokens may have been used up all the same."""

    def __init__(self, message: str, *, may_cost: bool = False) -> None:
        super().__init__(message)
        self.may_cost = may_cost


class Retryable(AttemptFailed):
    """Too busy, broken, or timed out. `retry_after_seconds` is what the endpoint asked for."""

    def __init__(self, message: str, *, may_cost: bool = False, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, may_cost=may_cost)
        self.retry_after_seconds = retry_after_seconds


class Unsupported(AttemptFailed):
    """The endpoint does not know something that the request uses. `parameter` names it where it could be told."""

    def __init__(self, message: str, *, parameter: str = "") -> None:
        super().__init__(message)
        self.parameter = parameter


class TooLong(AttemptFailed):
    """The prompt does not fit the endpoint's context."""


class Refused(AttemptFailed):
    """The endpoint will not answer this. `lasting`: nor anything else, for a wrong key or an unknown model."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class LeftAlone(AttemptFailed):
    """The endpoint is not asked now, after failures."""
