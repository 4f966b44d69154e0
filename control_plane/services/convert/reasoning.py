"""How reasoning is done, on the wire."""

from control_plane.model.money import to_micros
from control_plane.reasoning.contract import EndpointStatus, ReasoningReport
from control_plane.store.model_usage import Usage
from orquanta.v1 import agent_pb2

_UNPROBED = "unprobed"


def reasoning_status(report: ReasoningReport, today: Usage) -> agent_pb2.GetReasoningStatusResponse:
    """Return the endpoints and what was used today."""
    return agent_pb2.GetReasoningStatusResponse(
        endpoints=[_endpoint(endpoint) for endpoint in report.endpoints()],
        cost_today_usd_micros=today.cost_usd_micros,
        cost_per_day_usd_micros=to_micros(report.cost_per_day_usd),
        tokens_today=today.tokens,
    )


def _endpoint(value: EndpointStatus) -> agent_pb2.ModelEndpoint:
    return agent_pb2.ModelEndpoint(
        name=value.name,
        model=value.model,
        base_url=value.base_url,
        mode=_UNPROBED if value.mode is None else value.mode.value,
        tools=value.tools,
        streams=value.streams,
        breaker=value.breaker,
        last_error=value.last_error,
        calls=value.calls,
        failures=value.failures,
    )
