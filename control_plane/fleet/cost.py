"""The arithmetic of money: what a job may cost at most, and what an attempt did cost."""

from decimal import ROUND_HALF_UP, Decimal

from control_plane.fleet.preemption import time_left_seconds
from control_plane.fleet.prices import PriceTable
from control_plane.model.job import Allocation, Job, JobSpec, ResourceRequest

_SECONDS_PER_HOUR = Decimal(3600)
_SLICES = 7
_SLICES_OF_A30 = 4
_MICRO = Decimal("0.000001")


def estimate_usd(spec: JobSpec, prices: PriceTable) -> Decimal:
    """Return the most the job can cost: all its GPUs, of the dearest acceptable model, for its whole time limit."""
    resources = spec.resources
    if resources.gpu_count == 0:
        return Decimal(0)
    price = prices.highest_usd_per_gpu_hour(resources.gpu_types)
    if resources.mig_profile:
        # A device of a GPU with fewer slices is a larger part of it, and which GPU it will be is not known yet.
        known = resources.gpu_types
        price = max(
            (unit_usd_per_hour(resources, gpu_type, prices) for gpu_type in known),
            default=price * mig_share(resources.mig_profile, ""),
        )
    return usd(price, resources.gpus * spec.max_runtime_seconds)


def unit_usd_per_hour(resources: ResourceRequest, gpu_type: str, prices: PriceTable) -> Decimal:
    """Return the price of one GPU of this model, or of one MIG device on it, for one hour."""
    price = prices.usd_per_gpu_hour(gpu_type)
    if not resources.mig_profile:
        return price
    return (price * mig_share(resources.mig_profile, gpu_type)).quantize(_MICRO, ROUND_HALF_UP)


def mig_share(profile: str, gpu_type: str) -> Decimal:
    """Return which part of a GPU's price a MIG device costs: its compute slices of those of the GPU, at most all.

    GPUs have seven slices, an A30 has four (NVIDIA, MIG User Guide, supported profiles).
    """
    slices = int(profile.partition("g")[0])
    return min(Decimal(slices) / (_SLICES_OF_A30 if gpu_type in ("", "A30") else _SLICES), Decimal(1))


def placed_usd(job: Job, gpu_type: str, prices: PriceTable) -> Decimal:
    """Return the most that the job's next attempt can cost on this model, in the time that it has left."""
    resources = job.spec.resources
    if not gpu_type:
        return Decimal(0)
    return usd(unit_usd_per_hour(resources, gpu_type, prices), resources.gpus * time_left_seconds(job))


def usd(price_usd_per_gpu_hour: Decimal, gpu_seconds: float) -> Decimal:
    """Return the cost of GPU-seconds, in whole millionths of a dollar."""
    cost = price_usd_per_gpu_hour * Decimal(str(gpu_seconds)) / _SECONDS_PER_HOUR
    return cost.quantize(_MICRO, ROUND_HALF_UP)


def attempt_usd(allocation: Allocation, *, reserved_usd: Decimal) -> Decimal:
    """Return what an attempt costs: nothing if the fleet lost it, and never more than was reserved for it."""
    if allocation.waived:
        return Decimal(0)
    return min(usd(allocation.price_usd_per_gpu_hour, allocation.gpu_seconds), reserved_usd)
