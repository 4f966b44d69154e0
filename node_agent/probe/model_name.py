"""From NVML's product names to the short model names that people use, such as `H100`."""

import re
from typing import Final

UNKNOWN_MODEL: Final = "GPU"
_MAXIMUM_LENGTH: Final = 32
_MIG_SUFFIX: Final = re.compile(r"\sMIG\s.*$", re.IGNORECASE)
_SEPARATORS: Final = re.compile(r"[^A-Za-z0-9.]+")
_BRANDS: Final = frozenset({"NVIDIA", "TESLA", "QUADRO", "GEFORCE", "GRID", "GPU", "DEVICE"})
# Words that tell the form, the memory or the cooling of a board, not the model.
_FORMS: Final = frozenset(
    {
        "PCIE", "SXM", "NVL", "AC", "GENERATION", "BLACKWELL", "SERVER", "WORKSTATION", "EDITION",
        "WITH", "MAX", "Q", "DESIGN",
    }
)  # fmt: skip
_VARIANT: Final = re.compile(r"SXM\d?|HBM\d?E?|\d+GI?B?|\d{1,3}[ABCQ]", re.ASCII)


def short_model_name(name: str) -> str:
    """Return the short name of a GPU: `NVIDIA H100 80GB HBM3` is `H100`, `NVIDIA GeForce RTX 4090` is `RTX4090`.

    The maker, the brand, memory sizes, form factors, MIG and vGPU profiles are left out. At most 32 characters, upper
    case; `GPU` if nothing is left.
    """
    words = _SEPARATORS.split(_MIG_SUFFIX.sub("", name).upper())
    kept = [word for word in words if word not in _BRANDS and word not in _FORMS and not _VARIANT.fullmatch(word)]
    return "".join(kept)[:_MAXIMUM_LENGTH] or UNKNOWN_MODEL
