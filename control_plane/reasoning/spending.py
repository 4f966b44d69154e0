"""Money for calls of models: set aside by the worst case before a call, counted after it."""

import asyncio
from decimal import Decimal

import structlog

from control_plane.errors import OrQuantaError
from control_plane.model.money import format_usd, from_micros, to_micros
from control_plane.reasoning.contract import Purpose
from control_plane.reasoning.endpoint import Endpoint
from control_plane.reasoning.errors import ModelBudgetExceeded, ModelUnavailable
from control_plane.store import model_usage
from control_plane.store.database import Store
from control_plane.store.model_usage import Reservation, TooLittleLeft, UsageKey

log = structlog.get_logger()


class Tally:
    """What one question used up over all its attempts, and what it may cost."""

    def __init__(self, cost_usd_max: Decimal | None) -> None:
        self.cost_usd_max = cost_usd_max
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd = Decimal(0)

    def require(self, cost_usd: Decimal) -> None:
        """Raise ModelBudgetExceeded if so much more is not left for the question."""
        if self.cost_usd_max is not None and self.cost_usd + cost_usd > self.cost_usd_max:
            left = max(Decimal(0), self.cost_usd_max - self.cost_usd)
            raise ModelBudgetExceeded(
                f"the call could cost {format_usd(cost_usd)}, and {format_usd(left)} is left for it; shorten the "
                "prompt, ask for a shorter reply, or raise the limit of the run"
            )

    def add(self, input_tokens: int, output_tokens: int, cost_usd: Decimal) -> None:
        """Count an attempt."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.cost_usd += cost_usd


class Spending:
    """Reserves and settles in the store, for everybody who asks at once."""

    def __init__(self, store: Store, *, cost_per_day_usd: Decimal) -> None:
        self._store = store
        self.cost_per_day_usd = cost_per_day_usd

    async def start(self) -> None:
        """Count as spent what a control plane that ended had set aside."""
        await self._store.write(model_usage.settle_all)

    async def reserve(self, purpose: Purpose, endpoint: Endpoint, cost_usd: Decimal) -> Reservation:
        """Set money aside. Raises ModelBudgetExceeded if the tenant's day has not as much left."""
        key = UsageKey(purpose.user_id, purpose.goal_id, purpose.run_id, purpose.agent_name, endpoint.model)
        limit = to_micros(self.cost_per_day_usd)
        writing = asyncio.ensure_future(
            self._store.write(lambda tx: model_usage.reserve(tx, key, to_micros(cost_usd), per_day_usd_micros=limit))
        )
        try:
            found = await asyncio.shield(writing)
        except asyncio.CancelledError:
            await self._give_back(writing)
            raise
        except OrQuantaError as error:
            raise ModelUnavailable(f"the cost of the call cannot be kept: {error.message}") from error
        if isinstance(found, TooLittleLeft):
            raise ModelBudgetExceeded(
                f"the call could cost {format_usd(cost_usd)}, and {format_usd(from_micros(found.left_usd_micros))} of "
                f"{format_usd(self.cost_per_day_usd)} is left for today; wait until midnight UTC, or raise "
                "model_cost_per_day_usd"
            )
        return found

    async def _give_back(self, writing: asyncio.Future[Reservation | TooLittleLeft]) -> None:
        """Settle for nothing what is set aside for somebody who has gone: the call was never made."""
        try:
            found = await writing
        except OrQuantaError:
            return
        if isinstance(found, Reservation):
            await self.settle(found, input_tokens=0, output_tokens=0, cost_usd=Decimal(0), calls=0)

    async def settle(
        self,
        reservation: Reservation,
        *,
        input_tokens: int,
        output_tokens: int,
        cost_usd: Decimal,
        calls: int = 1,
    ) -> None:
        """Count what the call cost. Raises nothing: what it cannot count stays set aside."""
        try:
            await self._store.write(
                lambda tx: model_usage.settle(
                    tx,
                    reservation,
                    input_tokens=input_tokens,
                    output_tokens=output_tokens,
                    cost_usd_micros=to_micros(cost_usd),
                    calls=calls,
                )
            )
        except OrQuantaError as error:
            # It counts as spent at the next start.
            log.error("model.cost_not_kept", error=error.message)  # noqa: TRY400 - the store has logged the traceback
