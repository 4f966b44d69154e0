"""What GPUs cost."""

from orquanta.convert.catalog import read_price
from orquanta.transport import Transport
from orquanta.types.catalog import Price
from orquanta.v1 import catalog_pb2 as pb
from orquanta.v1.catalog_pb2_grpc import CatalogServiceStub


class AsyncCatalog:
    """Read prices."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = CatalogServiceStub(transport.channel)

    async def prices(self, provider: str = "") -> tuple[Price, ...]:
        """The prices that bills are computed from, by provider and model."""
        response = await self._transport.call(self._stub.ListPrices, pb.ListPricesRequest(provider=provider))
        return tuple(read_price(price) for price in response.prices)
