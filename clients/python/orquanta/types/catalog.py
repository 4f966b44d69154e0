"""What GPUs cost."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one GPU of a model for one hour; `gpu_type` is "*" for models with no price of their own."""

    provider: str
    gpu_type: str
    usd_per_gpu_hour: Decimal
    source: str
    as_of: str
