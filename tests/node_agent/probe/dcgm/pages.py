"""Pages as DCGM exporters print them, written after the exporter's own format and DCGM's list of fields."""

UUIDS = ("GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52", "GPU-9a1f9d5e-7b3c-4d2e-8f10-0123456789ab")
MODEL = "NVIDIA H100 80GB HBM3"

TYPES = {
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "counter",
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": "counter",
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": "counter",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "counter",
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": "counter",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": "counter",
}

FIGURES: dict[str, str] = {
    "DCGM_FI_DEV_SM_CLOCK": "1980",
    "DCGM_FI_DEV_MEM_CLOCK": "2619",
    "DCGM_FI_DEV_MEMORY_TEMP": "52",
    "DCGM_FI_DEV_GPU_TEMP": "44",
    "DCGM_FI_DEV_POWER_USAGE": "118.742000",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "5123456789",
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": "3",
    "DCGM_FI_DEV_GPU_UTIL": "97",
    "DCGM_FI_DEV_MEM_COPY_UTIL": "61",
    "DCGM_FI_DEV_ENC_UTIL": "0",
    "DCGM_FI_DEV_XID_ERRORS": "0",
    "DCGM_FI_DEV_FB_FREE": "40000",
    "DCGM_FI_DEV_FB_USED": "41559",
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": "7",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "0",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": "1",
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": "2",
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": "0",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": "0.912345",
}


def old_labels(index: int) -> str:
    """As up to version 4.5: `Hostname`, and no PCI bus id before 3.3."""
    return (
        f'gpu="{index}",UUID="{UUIDS[index]}",device="nvidia{index}",modelName="{MODEL}",Hostname="gpu-host-1",'
        'DCGM_FI_DRIVER_VERSION="535.129.03",container="",namespace="",pod=""'
    )


def new_labels(index: int) -> str:
    """With `hostname` and the PCI bus id."""
    return (
        f'gpu="{index}",UUID="{UUIDS[index]}",pci_bus_id="00000000:{index + 7:02X}:00.0",device="nvidia{index}",'
        f'modelName="{MODEL}",hostname="gpu-host-1",DCGM_FI_DRIVER_VERSION="580.65.06"'
    )


def page(*label_sets: str, **changed: str) -> str:
    """Return a page with all figures for each set of labels; `changed` replaces figures."""
    lines = []
    for name, value in {**FIGURES, **changed}.items():
        lines += [f"# HELP {name} What it is (in some unit).", f"# TYPE {name} {TYPES.get(name, 'gauge')}"]
        lines += [f"{name}{{{labels}}} {value}" for labels in label_sets]
    return "\n".join(lines) + "\n"


OLD = page(old_labels(0), old_labels(1))
NEW = page(new_labels(0), new_labels(1))

NVLINK = f"""\
# HELP DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL NVLink flow-control CRC errors.
# TYPE DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL counter
DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL{{nvlink="0",gpu="0",gpu_uuid="{UUIDS[0]}",\
pci_bus_id="00000000:07:00.0",device="nvidia0",model_name="{MODEL}",hostname="gpu-host-1"}} 5
DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL{{nvlink="17",gpu="0",gpu_uuid="{UUIDS[0]}",\
pci_bus_id="00000000:07:00.0",device="nvidia0",model_name="{MODEL}",hostname="gpu-host-1"}} 6
# HELP DCGM_FI_DEV_NVSWITCH_TEMPERATURE_CURRENT Switch temperature.
# TYPE DCGM_FI_DEV_NVSWITCH_TEMPERATURE_CURRENT gauge
DCGM_FI_DEV_NVSWITCH_TEMPERATURE_CURRENT{{nvswitch="0",hostname="gpu-host-1"}} 41
"""

MIG = "\n".join(
    f'{name}{{{new_labels(0)},GPU_I_PROFILE="1g.10gb",GPU_I_ID="{instance}"}} {value}'
    for name, value in (("DCGM_FI_DEV_GPU_TEMP", 44), ("DCGM_FI_DEV_FB_USED", 500), ("DCGM_FI_DEV_GPU_UTIL", 30))
    for instance in (7, 8)
)

BLANKS = ("9223372036854775792", "9223372036854775793", "9223372036854775794", "9223372036854775795", "2147483632",
          "2147483633", "2147483634", "2147483635", "140737488355328", "140737488355329.0", "9.223372036854776e+18",
          "1.40737488355328e+14", "2.147483634e+09", "NaN", "+Inf", "-Inf", "N/A", "")  # fmt: skip
