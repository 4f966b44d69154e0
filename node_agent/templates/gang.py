"""A sum over all ranks through rank 0: a star, on plain TCP, with a deadline on every wait."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from node_agent.templates.run import Place, say

_MEET_SECONDS = 60.0
_STEP_SECONDS = 60.0
_RETRY_SECONDS = 0.1
_GREETING = struct.Struct("<8sII")
_MAGIC = b"orqgang1"


class GangError(Exception):
    """The other ranks cannot be reached, or one of them went away."""


class Gang:
    """All ranks of one job; a job of one rank needs no network."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stack = ExitStack()
        self._peers: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Meet the other ranks; raises GangError after a minute."""
        if self._place.world_size > 1:
            try:
                if self._place.rank == 0:
                    self._listen()
                else:
                    self._dial()
            except BaseException:
                self._stack.close()
                raise
            say(f"gang: {self._place.world_size} ranks have met")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def sum(self, values: list[float]) -> list[float]:
        """Return the element-wise sum of every rank's values; all ranks give lists of one length."""
        if not self._peers:
            return values
        form = struct.Struct(f"<{len(values)}d")
        try:
            if self._place.rank == 0:
                parts = [values, *(list(form.unpack(_receive(peer, form.size))) for peer in self._peers)]
                total = [sum(column) for column in zip(*parts, strict=True)]
                for peer in self._peers:
                    peer.sendall(form.pack(*total))
                return total
            self._peers[0].sendall(form.pack(*values))
            return list(form.unpack(_receive(self._peers[0], form.size)))
        except OSError as error:
            raise GangError(f"a rank of the gang went away: {error}") from error

    def _listen(self) -> None:
        place = self._place
        deadline = time.monotonic() + _MEET_SECONDS
        try:
            server = self._stack.enter_context(socket.create_server(("", place.master_port), backlog=128))
        except OSError as error:
            raise GangError(f"port {place.master_port} cannot be opened for the gang: {error}") from error
        waiting = set(range(1, place.world_size))
        while waiting:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                peer, _ = server.accept()
            except TimeoutError as error:
                raise GangError(f"ranks {sorted(waiting)} did not come within {_MEET_SECONDS:.0f} s") from error
            rank = self._greet(peer)
            if rank not in waiting:
                peer.close()
                continue
            waiting.remove(rank)
            self._peers.append(self._stack.enter_context(peer))

    def _greet(self, peer: socket.socket) -> int:
        """Return the rank of a caller that belongs to this gang, or -1."""
        peer.settimeout(_STEP_SECONDS / 10)
        try:
            magic, rank, world_size = _GREETING.unpack(_receive(peer, _GREETING.size))
        except OSError:
            return -1
        peer.settimeout(_STEP_SECONDS)
        return int(rank) if magic == _MAGIC and world_size == self._place.world_size else -1

    def _dial(self) -> None:
        place = self._place
        deadline = time.monotonic() + _MEET_SECONDS
        while True:
            try:
                peer = socket.create_connection((place.master_address, place.master_port), timeout=_STEP_SECONDS)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    address = f"{place.master_address}:{place.master_port}"
                    raise GangError(
                        f"rank 0 at {address} was not there within {_MEET_SECONDS:.0f} s: {error}"
                    ) from error
                time.sleep(_RETRY_SECONDS)
        self._peers.append(self._stack.enter_context(peer))
        peer.sendall(_GREETING.pack(_MAGIC, place.rank, place.world_size))


def _receive(peer: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = peer.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("the connection was closed")
        parts += part
    return bytes(parts)
