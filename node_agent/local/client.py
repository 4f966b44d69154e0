"""Asks the daemon of this host, for the command line. Synchronous: a command does one thing."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import grpc

from node_agent.errors import LocalRefused, NotRunning
from orquanta.v1 import health_pb2, node_local_pb2, node_local_pb2_grpc, repair_pb2

_SECONDS: Final = 10.0
_REFUSALS: Final = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class LocalClient:
    """One connection to the socket. Every method raises NotRunning, or LocalRefused with the daemon's own words."""

    def __init__(self, channel: grpc.Channel, socket: Path) -> None:
        self._socket = socket
        self._stub: Any = node_local_pb2_grpc.NodeLocalServiceStub(channel)  # type: ignore[arg-type] # Any: typed for asyncio

    def status_json(self) -> str:
        """Return the daemon's status as JSON."""
        with self._told():
            response = self._stub.GetStatus(node_local_pb2.GetStatusRequest(), timeout=_SECONDS)
            return str(response.status_json)

    def conditions(self) -> list[health_pb2.Condition]:
        """Return what is wrong now, worst first."""
        with self._told():
            return list(self._stub.ListConditions(node_local_pb2.ListConditionsRequest(), timeout=_SECONDS).conditions)

    def repairs(self) -> list[repair_pb2.RepairReport]:
        """Return the repairs that the host remembers, newest first."""
        with self._told():
            return list(self._stub.ListRepairs(node_local_pb2.ListRepairsRequest(), timeout=_SECONDS).repairs)

    def events(self, since: datetime | None, *, follow: bool) -> Iterator[health_pb2.HealthEvent]:
        """Yield health events, oldest first; with `follow`, until interrupted."""
        request = node_local_pb2.WatchEventsRequest(follow=follow)
        if since is not None:
            request.since.FromDatetime(since)
        with self._told():
            for response in self._stub.WatchEvents(request, timeout=None if follow else 6 * _SECONDS):
                yield response.event

    def acknowledge(self, condition_id: str, by: str) -> health_pb2.Condition:
        """Say that an operator knows a condition."""
        request = node_local_pb2.AcknowledgeConditionRequest(condition_id=condition_id, by=by)
        with self._told():
            condition: health_pb2.Condition = self._stub.AcknowledgeCondition(request, timeout=_SECONDS).condition
            return condition

    def clear(self, condition_id: str, by: str) -> None:
        """End a condition."""
        with self._told():
            request = node_local_pb2.ClearConditionRequest(condition_id=condition_id, by=by)
            self._stub.ClearCondition(request, timeout=_SECONDS)

    def inject(self, fault: node_local_pb2.InjectFaultRequest) -> str:
        """Put a fault in and return what was done."""
        with self._told():
            return str(self._stub.InjectFault(fault, timeout=_SECONDS).message)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code in _REFUSALS:
                raise LocalRefused(f"{details}.") from None
            raise NotRunning(
                f"The daemon does not answer at {self._socket} ({code.name}). Start it (systemctl start "
                "orquanta-node), or run this as root or as a member of the socket's group."
            ) from None


@contextlib.contextmanager
def connected(socket: Path) -> Iterator[LocalClient]:
    """Give a client of the daemon behind this socket. Raises NotRunning at the first call if there is none."""
    with grpc.insecure_channel(f"unix:{socket.absolute()}") as channel:
        yield LocalClient(channel, socket)
