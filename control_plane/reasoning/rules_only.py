"""The Reasoner of a control plane without a model."""

from decimal import Decimal
from typing import Final

from control_plane.reasoning.contract import EndpointStatus, ModelReply, ModelRequest, OnDelta
from control_plane.reasoning.errors import NoModel


class RulesOnly:
    """Refuses every question with NoModel."""

    available = False
    model_name = ""
    cost_per_day_usd = Decimal(0)

    def endpoints(self) -> tuple[EndpointStatus, ...]:
        """There are none."""
        return ()

    async def ask(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:  # noqa: ARG002 - Reasoner's
        """Raise NoModel."""
        raise NoModel("no model is configured; go on by rules")


NO_MODELS: Final = RulesOnly()
