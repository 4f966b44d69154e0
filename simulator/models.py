"""The GPUs that virtual hosts can have, with the figures that such hosts show."""

from dataclasses import dataclass
from typing import Final

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One model. Clocks in MHz, temperatures in degrees Celsius, power in watts."""

    gpu_type: str
    product_name: str
    memory_bytes: int
    compute_capability: str
    idle_watts: float
    limit_watts: float
    idle_celsius: int
    full_celsius: int
    idle_clock_mhz: int
    top_clock_mhz: int
    memory_clock_mhz: int
    nvlinks: int


MODELS: Final = {
    model.gpu_type: model
    for model in (
        GpuModel("A100", "NVIDIA A100-SXM4-80GB", 81_920 * _MIB, "8.0", 62, 400, 31, 66, 210, 1410, 1593, 12),
        GpuModel("H100", "NVIDIA H100 80GB HBM3", 81_559 * _MIB, "9.0", 71, 700, 29, 68, 345, 1980, 2619, 18),
        GpuModel("H200", "NVIDIA H200", 143_771 * _MIB, "9.0", 76, 700, 30, 67, 345, 1980, 3201, 18),
        GpuModel("B200", "NVIDIA B200", 183_359 * _MIB, "10.0", 142, 1000, 32, 64, 120, 1965, 3996, 18),
        GpuModel("L4", "NVIDIA L4", 23_034 * _MIB, "8.9", 13, 72, 38, 74, 210, 2040, 6251, 0),
    )
}
