"""Reads your own prices: a TOML file with one table for each GPU model.

    [H100]
    usd_per_gpu_hour = "2.10"
    source = "finance, depreciation over 4 years"
    as_of = "2026-11-01"

A model that the file does not name keeps its built-in price; `["*"]` is for models without one.
"""

import tomllib
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from control_plane.errors import InvalidArgument
from control_plane.fleet.prices import DEFAULT_PRICES, OWNED, Price, PriceTable

_MAX_FILE_BYTES = 1 << 20


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    usd_per_gpu_hour: Decimal = Field(ge=0, le=100_000, allow_inf_nan=False)
    source: str = Field(min_length=1, max_length=200)
    as_of: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")


_FILE = TypeAdapter(dict[str, _Entry])


def load_prices(path: Path | None) -> PriceTable:
    """Return the built-in prices with the file's in their place. Raises InvalidArgument for a bad file."""
    if path is None:
        return PriceTable()
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InvalidArgument(f"price_file {path} is larger than {_MAX_FILE_BYTES} bytes", reason="PRICES_INVALID")
        entries = _FILE.validate_python(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument(f"price_file {path} cannot be read: {error}", reason="PRICES_INVALID") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidArgument(f"price_file {path}: {where}: {first['msg']}", reason="PRICES_INVALID") from error
    own = [
        Price(OWNED, gpu_type, entry.usd_per_gpu_hour, entry.source, entry.as_of) for gpu_type, entry in entries.items()
    ]
    return PriceTable([*(price for price in DEFAULT_PRICES if price.gpu_type not in entries), *own])
