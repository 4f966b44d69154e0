"""Makes the engine of a control plane."""

from collections.abc import Sequence
from decimal import Decimal

from control_plane.clock import Clock
from control_plane.errors import InvalidArgument
from control_plane.reasoning.endpoint import Endpoint
from control_plane.reasoning.engine import Engine
from control_plane.reasoning.transport import Transport
from control_plane.store.database import Store


def assemble(endpoints: Sequence[Endpoint], store: Store, *, clock: Clock, cost_per_day_usd: Decimal) -> Engine:
    """Return an engine for the endpoints; for none, one that is never available. Raises InvalidArgument."""
    if endpoints:
        _require_openai()
    return Engine(endpoints, store, clock=clock, cost_per_day_usd=cost_per_day_usd, transport=_transport)


def _transport(endpoint: Endpoint) -> Transport:
    # The package is an extra, takes a second to load and 60 MB, and most starts need none of it.
    from control_plane.reasoning.openai_transport import OpenAiTransport  # noqa: PLC0415

    return OpenAiTransport(endpoint)


def _require_openai() -> None:
    try:
        import openai  # noqa: F401, PLC0415
    except ImportError:
        raise InvalidArgument(
            "model_endpoints are set, and the openai package is not installed; install orquanta[model]",
            reason="MODEL_PACKAGE_MISSING",
        ) from None
