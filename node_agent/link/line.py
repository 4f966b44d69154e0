"""The connection to a link server, kept over a pause that the server has asked for."""

import grpc

from node_agent.link.identity import Identity
from node_agent.link.tls import Address, link_channel


class Line:
    """One connection at a time.

    A control plane that thousands of hosts call at once sends most of them away for a while. Coming back over the same
    connection costs it a call; over a fresh one, the handshakes of all of them.
    """

    def __init__(self) -> None:
        self._channel: grpc.aio.Channel | None = None
        self._to: tuple[Address, Identity] | None = None

    async def to(self, server: Address, identity: Identity) -> grpc.aio.Channel:
        """Return the connection to this server under this identity; any other one is closed. Raises OSError."""
        if self._channel is None or self._to != (server, identity):
            await self.close()
            self._channel = link_channel(server, identity)
            self._to = (server, identity)
        return self._channel

    async def close(self) -> None:
        """Hang up."""
        channel, self._channel, self._to = self._channel, None, None
        if channel is not None:
            await channel.close()
