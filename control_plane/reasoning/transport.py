"""What carries a request to an endpoint."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol, TypeAlias

from control_plane.reasoning.outcomes import RawReply
from control_plane.reasoning.wire import StreamedReply

Body: TypeAlias = Mapping[str, Any]  # Any: JSON


class Transport(Protocol):
    """Asks one endpoint once. Raises AttemptFailed, and NoModel where real calls are forbidden."""

    async def ask(self, body: Body) -> RawReply:
        """Return a whole answer."""
        ...

    def stream(self, body: Body, into: StreamedReply) -> AsyncGenerator[str, None]:
        """Give the answer's text as it is written; `into` has the whole of it in the end."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
