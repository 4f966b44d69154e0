"""What was spent, from a tool's result."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from orquanta.errors import InvalidArgument, NotFound, OrQuantaError, PermissionDenied, ServerFailure
from orquanta.types.costs import CostKey, CostLine, Costs
from orquanta.types.tools import Json, ToolResult, ToolStatus

_ERRORS: tuple[tuple[str, type[OrQuantaError]], ...] = (
    ("_NOT_FOUND", NotFound),
    ("_INVALID", InvalidArgument),
    ("_AMBIGUOUS", InvalidArgument),
    ("_TOO_LOW", PermissionDenied),
)


def read_costs(result: ToolResult) -> Costs:
    """What was spent. Raises the error that a result of the tool stands for."""
    if result.status not in (ToolStatus.OK, ToolStatus.NO_DATA):
        kind = next((kind for ending, kind in _ERRORS if result.error_code.endswith(ending)), ServerFailure)
        raise kind(result.error, reason=result.error_code)
    data = result.data
    return Costs(
        by=CostKey(data["by"]),
        team=data.get("team", ""),
        since=_moment(data, "since"),
        until=_moment(data, "until"),
        total_usd=Decimal(data["total_usd"]),
        reserved_usd=Decimal(data["reserved_usd"]),
        people=tuple(data["people"]),
        lines=tuple(_line(one) for one in data["lines"]),
    )


def _line(data: Json) -> CostLine:
    return CostLine(data["key"], Decimal(data["cost_usd"]), int(data["attempts"]), float(data["gpu_hours"]))


def _moment(data: Mapping[str, Any], name: str) -> datetime | None:  # Any: JSON of any shape
    return datetime.fromisoformat(data[name]) if data.get(name) else None
