"""What the virtual GPUs are made of: the figures that NVML reports for real models.

Names, PCI ids, memory sizes, power limits and top clocks are those that `nvidia-smi` prints on such hosts;
the temperatures under load and the idle power are typical of servers with front-to-back cooling.
"""

from types import MappingProxyType
from typing import Final

from node_agent.virtual.gpu_model import GpuModel, PageRepair, Wiring

MEBIBYTE: Final = 1024 * 1024


def _sxm(
    key: str,
    name: str,
    *,
    memory: tuple[int, int],
    capability: tuple[int, int],
    architecture: int,
    pci: tuple[int, int],
    power: tuple[int, int, int],
    sm_clock: tuple[int, int],
    memory_clock: int,
    pcie: int,
    temperature: tuple[int, int, int],
    nvlink: tuple[int, int],
    mig: bool = True,
    wiring: Wiring = Wiring.SWITCH,
    page_repair: PageRepair = PageRepair.ROW_REMAP,
) -> GpuModel:
    """Describe a GPU with HBM.

    `memory` is (total, reserved) in MiB, `power` is (limit, least, idle) in watts, `sm_clock` is (idle, top)
    in MHz, `temperature` is (full load, slowdown, shutdown) in Celsius, `nvlink` is (links, version).
    """
    return GpuModel(
        key=key,
        name=name,
        memory_bytes=memory[0] * MEBIBYTE,
        reserved_bytes=memory[1] * MEBIBYTE,
        compute_capability=capability,
        architecture=architecture,
        pci_device_id=pci[0],
        pci_subsystem_id=pci[1],
        power_limit_watts=power[0],
        power_minimum_watts=power[1],
        power_idle_watts=power[2],
        sm_clock_idle_mhz=sm_clock[0],
        sm_clock_mhz=sm_clock[1],
        memory_clock_idle_mhz=memory_clock,
        memory_clock_mhz=memory_clock,
        pcie_generation=pcie,
        pcie_generation_idle=pcie,
        full_load_celsius=temperature[0],
        slowdown_celsius=temperature[1],
        shutdown_celsius=temperature[2],
        idle_performance_state=0,
        wiring=wiring,
        nvlink_count=nvlink[0],
        nvlink_version=nvlink[1],
        mig=mig,
        memory_temperature=True,
        page_repair=page_repair,
    )


def _pcie_card(
    key: str,
    name: str,
    *,
    memory: tuple[int, int],
    capability: tuple[int, int],
    architecture: int,
    pci: tuple[int, int],
    power: tuple[int, int, int],
    sm_clock: tuple[int, int],
    memory_clock: int,
    pcie: int,
    temperature: tuple[int, int, int],
    page_repair: PageRepair = PageRepair.ROW_REMAP,
) -> GpuModel:
    """Describe a card with GDDR6, with figures as for `_sxm`.

    It clocks down to P8 and PCIe generation 1 when idle, which is no fault.
    """
    return GpuModel(
        key=key,
        name=name,
        memory_bytes=memory[0] * MEBIBYTE,
        reserved_bytes=memory[1] * MEBIBYTE,
        compute_capability=capability,
        architecture=architecture,
        pci_device_id=pci[0],
        pci_subsystem_id=pci[1],
        power_limit_watts=power[0],
        power_minimum_watts=power[1],
        power_idle_watts=power[2],
        sm_clock_idle_mhz=sm_clock[0],
        sm_clock_mhz=sm_clock[1],
        memory_clock_idle_mhz=405,
        memory_clock_mhz=memory_clock,
        pcie_generation=pcie,
        pcie_generation_idle=1,
        full_load_celsius=temperature[0],
        slowdown_celsius=temperature[1],
        shutdown_celsius=temperature[2],
        idle_performance_state=8,
        wiring=Wiring.NONE,
        nvlink_count=0,
        nvlink_version=0,
        mig=False,
        memory_temperature=False,
        page_repair=page_repair,
    )


_VOLTA, _TURING, _AMPERE, _ADA, _HOPPER, _BLACKWELL = 5, 6, 7, 8, 9, 10  # nvmlDeviceArchitecture_t

_MODELS = (
    _sxm(
        "B200",
        "NVIDIA B200",
        memory=(183359, 1024),
        capability=(10, 0),
        architecture=_BLACKWELL,
        pci=(0x290110DE, 0x199910DE),
        power=(1000, 200, 140),
        sm_clock=(120, 1965),
        memory_clock=3996,
        pcie=5,
        temperature=(66, 90, 95),
        nvlink=(18, 5),
    ),
    _sxm(
        "H200",
        "NVIDIA H200",
        memory=(143771, 599),
        capability=(9, 0),
        architecture=_HOPPER,
        pci=(0x233510DE, 0x18BE10DE),
        power=(700, 200, 76),
        sm_clock=(345, 1980),
        memory_clock=3201,
        pcie=5,
        temperature=(68, 87, 92),
        nvlink=(18, 4),
    ),
    _sxm(
        "H100",
        "NVIDIA H100 80GB HBM3",
        memory=(81559, 563),
        capability=(9, 0),
        architecture=_HOPPER,
        pci=(0x233010DE, 0x16C110DE),
        power=(700, 200, 70),
        sm_clock=(345, 1980),
        memory_clock=2619,
        pcie=5,
        temperature=(68, 87, 92),
        nvlink=(18, 4),
    ),
    _sxm(
        "A100-80GB",
        "NVIDIA A100-SXM4-80GB",
        memory=(81920, 671),
        capability=(8, 0),
        architecture=_AMPERE,
        pci=(0x20B210DE, 0x147F10DE),
        power=(400, 100, 60),
        sm_clock=(210, 1410),
        memory_clock=1593,
        pcie=4,
        temperature=(64, 89, 92),
        nvlink=(12, 3),
    ),
    _sxm(
        "A100-40GB",
        "NVIDIA A100-SXM4-40GB",
        memory=(40960, 571),
        capability=(8, 0),
        architecture=_AMPERE,
        pci=(0x20B010DE, 0x134F10DE),
        power=(400, 100, 52),
        sm_clock=(210, 1410),
        memory_clock=1215,
        pcie=4,
        temperature=(62, 89, 92),
        nvlink=(12, 3),
    ),
    _sxm(
        "V100-32GB",
        "Tesla V100-SXM2-32GB",
        memory=(32768, 258),
        capability=(7, 0),
        architecture=_VOLTA,
        pci=(0x1DB510DE, 0x124910DE),
        power=(300, 150, 42),
        sm_clock=(135, 1530),
        memory_clock=877,
        pcie=3,
        temperature=(62, 87, 90),
        nvlink=(6, 2),
        mig=False,
        wiring=Wiring.CUBE_MESH,
        page_repair=PageRepair.PAGE_RETIREMENT,
    ),
    _sxm(
        "V100-16GB",
        "Tesla V100-SXM2-16GB",
        memory=(16384, 223),
        capability=(7, 0),
        architecture=_VOLTA,
        pci=(0x1DB110DE, 0x121210DE),
        power=(300, 150, 41),
        sm_clock=(135, 1530),
        memory_clock=877,
        pcie=3,
        temperature=(62, 87, 90),
        nvlink=(6, 2),
        mig=False,
        wiring=Wiring.CUBE_MESH,
        page_repair=PageRepair.PAGE_RETIREMENT,
    ),
    _pcie_card(
        "L40S",
        "NVIDIA L40S",
        memory=(46068, 598),
        capability=(8, 9),
        architecture=_ADA,
        pci=(0x26B910DE, 0x185110DE),
        power=(350, 100, 35),
        sm_clock=(210, 2520),
        memory_clock=9001,
        pcie=4,
        temperature=(72, 89, 92),
    ),
    _pcie_card(
        "L4",
        "NVIDIA L4",
        memory=(23034, 533),
        capability=(8, 9),
        architecture=_ADA,
        pci=(0x27B810DE, 0x16CA10DE),
        power=(72, 40, 12),
        sm_clock=(210, 2040),
        memory_clock=6251,
        pcie=4,
        temperature=(76, 92, 95),
    ),
    _pcie_card(
        "A10G",
        "NVIDIA A10G",
        memory=(23028, 298),
        capability=(8, 6),
        architecture=_AMPERE,
        pci=(0x223710DE, 0x152F10DE),
        power=(300, 100, 16),
        sm_clock=(210, 1710),
        memory_clock=6251,
        pcie=4,
        temperature=(66, 95, 98),
    ),
    _pcie_card(
        "T4",
        "Tesla T4",
        memory=(15360, 438),
        capability=(7, 5),
        architecture=_TURING,
        pci=(0x1EB810DE, 0x12A210DE),
        power=(70, 60, 9),
        sm_clock=(300, 1590),
        memory_clock=5001,
        pcie=3,
        temperature=(78, 93, 96),
        page_repair=PageRepair.PAGE_RETIREMENT,
    ),
)

MODELS: Final = MappingProxyType({model.key: model for model in _MODELS})

# Where a model comes in two sizes, the bare name means the size that is most often rented.
ALIASES: Final = MappingProxyType(
    {
        "A100": "A100-80GB",
        "V100": "V100-16GB",
        "H100-80GB": "H100",
        "H200-141GB": "H200",
        "B200-180GB": "B200",
    }
)


def find_model(word: str) -> GpuModel | None:
    """Return the model that a person means by `word`, whatever its case, or None."""
    key = word.upper()
    return MODELS.get(ALIASES.get(key, key))


def known_words() -> tuple[str, ...]:
    """Return every word that `find_model` understands, sorted."""
    return tuple(sorted({*MODELS, *ALIASES}))
