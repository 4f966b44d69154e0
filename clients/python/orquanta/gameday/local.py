"""What a game day asks daemons on their own hosts, through their sockets."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from orquanta.gameday.fleet import FleetError, Host
from orquanta.v1 import health_pb2, node_local_pb2, repair_pb2
from orquanta.v1.node_local_pb2_grpc import NodeLocalServiceStub

_CALL_SECONDS = 15.0


@asynccontextmanager
async def _stub(host: Host) -> AsyncIterator[NodeLocalServiceStub]:
    async with grpc.aio.insecure_channel(f"unix:{host.socket}") as channel:
        try:
            yield NodeLocalServiceStub(channel)
        except grpc.aio.AioRpcError as error:
            raise FleetError(f"{host.name} does not do it: {error.details()}") from None


async def inject(host: Host, fault: str, *, gpu: str = "0", value: int = 0, times: int = 1) -> str:
    """Put a fault into a virtual GPU; return what the daemon says. Raises FleetError."""
    request = node_local_pb2.InjectFaultRequest(fault=fault, gpu=gpu, value=value, times=times)
    async with _stub(host) as stub:
        answer = await stub.InjectFault(request, timeout=_CALL_SECONDS, wait_for_ready=True)
        return str(answer.message)


# Any: the status is JSON.
async def status(host: Host, *, seconds: float = _CALL_SECONDS) -> dict[str, Any]:
    """Return how the daemon is. Raises FleetError if it does not answer within that time."""
    async with _stub(host) as stub:
        answer = await stub.GetStatus(node_local_pb2.GetStatusRequest(), timeout=seconds)
        found: dict[str, Any] = json.loads(answer.status_json)
        return found


async def conditions(host: Host) -> list[health_pb2.Condition]:
    """Return what is wrong now, as the host sees it."""
    async with _stub(host) as stub:
        answer = await stub.ListConditions(
            node_local_pb2.ListConditionsRequest(), timeout=_CALL_SECONDS, wait_for_ready=True
        )
        return list(answer.conditions)


async def events(host: Host) -> list[health_pb2.HealthEvent]:
    """Return the health events that the host keeps, oldest first."""
    async with _stub(host) as stub:
        stream = stub.WatchEvents(node_local_pb2.WatchEventsRequest(), timeout=_CALL_SECONDS, wait_for_ready=True)
        return [answer.event async for answer in stream]


async def repairs(host: Host) -> list[repair_pb2.RepairReport]:
    """Return the repairs that the host remembers, newest first."""
    async with _stub(host) as stub:
        answer = await stub.ListRepairs(node_local_pb2.ListRepairsRequest(), timeout=_CALL_SECONDS, wait_for_ready=True)
        return list(answer.repairs)
