"""A port kept free for a server that is about to listen on it."""

import socket
from typing import Self


class HeldPort:
    """A TCP port that the kernel gives to no connection and to no search for a free port until this is closed.

    Whoever names the port and sets SO_REUSEADDR, as gRPC and nats-server do, can listen on it meanwhile. A context
    manager.
    """

    def __init__(self, host: str, port: int) -> None:
        """Hold `port`, or any free one if it is 0. Raises OSError when somebody listens there, or it is not ours."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self.port = int(self._socket.getsockname()[1])
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the port; a second call does nothing."""
        self._socket.close()
