"""Prices from the wire."""

from orquanta.convert.scalars import read_usd
from orquanta.types.catalog import Price
from orquanta.v1 import catalog_pb2 as pb


def read_price(message: pb.Price) -> Price:
    """The price of a GPU model."""
    return Price(
        provider=message.provider,
        gpu_type=message.gpu_type,
        usd_per_gpu_hour=read_usd(message.usd_micros_per_gpu_hour),
        source=message.source,
        as_of=message.as_of,
    )
