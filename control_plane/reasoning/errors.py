"""Why a model did not answer. All are ReasoningError; the caller goes on by rules and says so."""

from decimal import Decimal


class ReasoningError(Exception):
    """A model could not be asked, or gave nothing usable.

    What was used up meanwhile is counted all the same, and told here.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd = Decimal(0)


class NoModel(ReasoningError):
    """No endpoint is configured, or real calls are forbidden."""


class ModelUnavailable(ReasoningError):
    """Every endpoint failed, timed out or is left alone after failures."""


class ModelBudgetExceeded(ReasoningError):
    """The call could cost more tokens or money than is left for the run, the goal or the tenant's day."""


class ModelReplyInvalid(ReasoningError):
    """The model's reply was not data of the wanted shape, also not after one repair."""
