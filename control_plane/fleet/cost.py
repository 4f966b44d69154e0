"""The arithmetic of money: what a job may cost at most, and what an attempt did cost."""

from decimal import ROUND_HALF_UP, Decimal

from control_plane.fleet.prices import PriceTable
from control_plane.model.job import Allocation, JobSpec

_SECONDS_PER_HOUR = Decimal(3600)
_MICRO = Decimal("0.000001")


def estimate_usd(spec: JobSpec, prices: PriceTable) -> Decimal:
    """Return the most the job can cost: all its GPUs, of the dearest acceptable model, for its whole time limit."""
    resources = spec.resources
    if resources.gpu_count == 0:
        return Decimal(0)
    price = prices.highest_usd_per_gpu_hour(resources.gpu_types)
    return usd(price, resources.gpu_count * spec.max_runtime_seconds)


def usd(price_usd_per_gpu_hour: Decimal, gpu_seconds: float) -> Decimal:
    """Return the cost of GPU-seconds, in whole millionths of a dollar."""
    cost = price_usd_per_gpu_hour * Decimal(str(gpu_seconds)) / _SECONDS_PER_HOUR
    return cost.quantize(_MICRO, ROUND_HALF_UP)


def attempt_usd(allocation: Allocation, *, reserved_usd: Decimal) -> Decimal:
    """Return what an attempt costs: nothing if the fleet lost it, and never more than was reserved for it."""
    if allocation.waived:
        return Decimal(0)
    return min(usd(allocation.price_usd_per_gpu_hour, allocation.gpu_seconds), reserved_usd)
