"""What repairs and conditions in requests must be."""

import re
from collections.abc import Sequence
from typing import Final

from control_plane.model.repair import Rung
from control_plane.services.convert.repairs import RUNG
from control_plane.services.convert.scalars import from_wire
from control_plane.services.validate.fields import Fields, shown

GPUS_MAX: Final = 64
CONDITION_ID_CHARACTERS_MAX: Final = 512

_RUNGS: Final = from_wire(RUNG)
_GPU: Final = re.compile(r"[0-9]{1,4}|[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_SERVICE: Final = re.compile(r"[A-Za-z0-9@_.-]{1,100}")


def rung(fields: Fields, value: int) -> Rung | None:
    """Check the kind of a repair; unspecified is the one that fits, and returned as None."""
    return fields.enum("rung", value, _RUNGS, Rung.VERIFY) if value else None


def gpus(fields: Fields, values: Sequence[str]) -> tuple[str, ...]:
    """Check GPUs, each by index or UUID."""
    items = fields.count("gpus", values, most=GPUS_MAX)
    for index, value in enumerate(items):
        if not _GPU.fullmatch(value):
            fields.wrong(f"gpus[{index}]", f"{shown(value)} is neither the index nor the UUID of a GPU", "GPU_INVALID")
    return items


def service(fields: Fields, value: str) -> str:
    """Check the name of a service on the host; it may be empty."""
    if value and not _SERVICE.fullmatch(value):
        fields.wrong(
            "service", f"{shown(value)} is not the name of a service, such as nvidia-fabricmanager", "SERVICE_INVALID"
        )
    return value


def condition_id(fields: Fields, value: str) -> str:
    """Check a condition's id."""
    return fields.text("condition_id", value, least=1, most=CONDITION_ID_CHARACTERS_MAX, one_line=True)
