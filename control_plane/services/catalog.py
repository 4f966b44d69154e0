"""CatalogService: what GPUs cost."""

from typing_extensions import override

from control_plane.fleet.prices import PriceTable
from control_plane.model.money import to_micros
from control_plane.services.validate.fields import Fields
from orquanta.v1 import catalog_pb2
from orquanta.v1.catalog_pb2_grpc import CatalogServiceServicer

PROVIDER_CHARACTERS_MAX = 64


class Catalog(CatalogServiceServicer):
    """Serves prices."""

    def __init__(self, *, prices: PriceTable) -> None:
        self._prices = prices

    @override
    async def ListPrices(
        self, request: catalog_pb2.ListPricesRequest, context: object
    ) -> catalog_pb2.ListPricesResponse:
        fields = Fields()
        provider = fields.text("provider", request.provider, most=PROVIDER_CHARACTERS_MAX, one_line=True)
        fields.check()
        chosen = (price for price in self._prices.prices if provider in ("", price.provider))
        return catalog_pb2.ListPricesResponse(
            prices=[
                catalog_pb2.Price(
                    provider=price.provider,
                    gpu_type=price.gpu_type,
                    usd_micros_per_gpu_hour=to_micros(price.usd_per_gpu_hour),
                    source=price.source,
                    as_of=price.as_of,
                )
                for price in sorted(chosen, key=lambda price: (price.provider, price.gpu_type))
            ]
        )
