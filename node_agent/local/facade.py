"""What the socket needs from the daemon; the composition root puts the real parts behind it."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any, Protocol

from orquanta.v1 import health_pb2, node_local_pb2, repair_pb2


class LocalFacade(Protocol):
    """The daemon as an operator on its host sees it. No method may block."""

    def status(self) -> dict[str, Any]:
        """Return values for `json.dumps`. Any: it becomes JSON."""
        ...

    def conditions(self) -> Sequence[health_pb2.Condition]:
        """Return what is wrong now, worst first."""
        ...

    def events(self, since: datetime | None, *, follow: bool) -> AsyncGenerator[health_pb2.HealthEvent, None]:
        """Yield the health events that the host keeps from `since` on, oldest first; go on if told to follow."""
        ...

    def repairs(self) -> Sequence[repair_pb2.RepairReport]:
        """Return the repairs that the host remembers, newest first."""
        ...

    async def acknowledge(self, condition_id: str, by: str) -> health_pb2.Condition:
        """Take note that an operator knows a condition. Raises LookupError if there is none of this id."""
        ...

    async def clear(self, condition_id: str, by: str) -> None:
        """End a condition by an operator's word. Raises LookupError if there is none of this id."""
        ...

    async def inject(self, fault: node_local_pb2.InjectFaultRequest) -> str:
        """Put a fault in and say what was done.

        Raises:
            ValueError: there is no such fault, or a value is out of range.
            PermissionError: this daemon takes no such fault; the message says how to allow it.
        """
        ...
