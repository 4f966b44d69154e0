"""What a GPU costs for an hour on hosts you own.

The built-in figures are on-demand prices that clouds publish for the same GPU, divided by the GPUs of the instance.
They stand in for your own cost until you set one with a price file. A model that is not listed costs the fallback.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from control_plane.errors import InvalidArgument

OWNED = "owned"
FALLBACK_TYPE = "*"


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one GPU for one hour, where the figure comes from and as of which day (YYYY-MM-DD)."""

    provider: str
    gpu_type: str
    usd_per_gpu_hour: Decimal
    source: str
    as_of: str


_LAMBDA = ("Lambda on-demand, 8-GPU instance", "2026-05-07")
_AWS = ("AWS us-east-1 on-demand", "2026-07-20")
_COREWEAVE = ("CoreWeave list price as quoted by the press", "2026-02-01")

DEFAULT_PRICES: tuple[Price, ...] = (
    Price(OWNED, "GB200", Decimal("10.50"), *_COREWEAVE),
    Price(OWNED, "B200", Decimal("6.69"), *_LAMBDA),
    Price(OWNED, "H200", Decimal("6.305"), *_COREWEAVE),
    Price(OWNED, "H100", Decimal("3.99"), *_LAMBDA),
    Price(OWNED, "GH200", Decimal("2.29"), "Lambda on-demand, 1-GPU instance", "2026-05-07"),
    Price(OWNED, "A100", Decimal("2.79"), *_LAMBDA),
    Price(OWNED, "L40S", Decimal("1.861"), *_AWS),
    Price(OWNED, "A10G", Decimal("1.006"), *_AWS),
    Price(OWNED, "A10", Decimal("1.29"), "Lambda on-demand, 1-GPU instance", "2026-05-07"),
    Price(OWNED, "L4", Decimal("0.8048"), *_AWS),
    Price(OWNED, "V100", Decimal("0.79"), *_LAMBDA),
    Price(OWNED, "T4", Decimal("0.526"), *_AWS),
    Price(
        OWNED, FALLBACK_TYPE, Decimal("3.99"), "the price of an H100, for models without one of their own", "2026-05-07"
    ),
)


class PriceTable:
    """Prices by GPU model."""

    def __init__(self, prices: Iterable[Price] = DEFAULT_PRICES) -> None:
        self.prices = tuple(prices)
        self._by_type: Mapping[str, Price] = {price.gpu_type: price for price in self.prices}
        if FALLBACK_TYPE not in self._by_type:
            raise InvalidArgument(
                f"the price table has no entry {FALLBACK_TYPE!r} for models without a price of their own",
                reason="PRICES_INVALID",
            )

    def usd_per_gpu_hour(self, gpu_type: str) -> Decimal:
        """Return the price of one GPU of this model for one hour."""
        return (self._by_type.get(gpu_type) or self._by_type[FALLBACK_TYPE]).usd_per_gpu_hour

    def highest_usd_per_gpu_hour(self, gpu_types: Iterable[str]) -> Decimal:
        """Return the highest price among the models; for no model in particular, the highest of the table."""
        wanted = tuple(gpu_types)
        if not wanted:
            return max(price.usd_per_gpu_hour for price in self.prices)
        return max(self.usd_per_gpu_hour(gpu_type) for gpu_type in wanted)
