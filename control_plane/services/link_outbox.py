"""What waits to be said to one host: the newest state of each thing, not a history of it.

So a host that reads slowly costs no memory and holds nobody up: what it missed is superseded.
"""

from collections.abc import Callable
from typing import Final

from orquanta.v1 import node_link_pb2

_ACKS_MAX: Final = 4096
"""Acknowledgements kept for one host; one that is dropped is sent again when the host repeats its report."""


class Outbox:
    """Collects messages for one stream; belongs to one event loop.

    `on_news` is called whenever something is to be said, once there is who says it; it must not block or raise.
    """

    __slots__ = (
        "_acks",
        "_certificate",
        "_closed",
        "_desired",
        "_farewell",
        "_heartbeat",
        "_spool_ack",
        "on_news",
        "waiting",
    )

    def __init__(self) -> None:
        self.on_news: Callable[[], None] | None = None
        self.waiting = False
        """Whether something is to be said."""
        self._heartbeat: int | None = None
        self._desired: node_link_pb2.DesiredState | None = None
        self._certificate = b""
        self._acks: dict[tuple[str, int], None] = {}
        self._spool_ack: tuple[str, int] | None = None
        self._farewell: node_link_pb2.Disconnect | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing more can be said."""
        return self._closed

    def put_heartbeat_ack(self, sequence: int) -> None:
        """Say that a heartbeat was received."""
        self._heartbeat = sequence
        self._tell()

    def put_desired(self, desired: node_link_pb2.DesiredState) -> None:
        """Say all that should run; it supersedes what was not sent yet."""
        self._desired = desired
        self._tell()

    def put_report_ack(self, allocation_id: str, rank: int) -> None:
        """Say that a final report is in the books."""
        if len(self._acks) < _ACKS_MAX:
            self._acks[allocation_id, rank] = None
            self._tell()

    def put_spool_ack(self, spool_id: str, sequence: int) -> None:
        """Say that the records of a spool up to this one are in the books."""
        self._spool_ack = (spool_id, sequence)
        self._tell()

    def put_certificate(self, pem: bytes) -> None:
        """Hand over a fresh certificate."""
        self._certificate = pem
        self._tell()

    def end(self, farewell: node_link_pb2.Disconnect | None = None) -> None:
        """End the stream once what waits is sent; the first farewell counts."""
        if not self._closed:
            self._farewell = farewell
            self._closed = True
            self._tell()

    def _tell(self) -> None:
        self.waiting = True
        if self.on_news is not None:
            self.on_news()

    def take(self) -> list[node_link_pb2.ConnectResponse]:
        """Return all that is to be said, which waits no longer."""
        self.waiting = False
        responses = []
        if self._heartbeat is not None:
            ack = node_link_pb2.HeartbeatAck(sequence=self._heartbeat)
            responses.append(node_link_pb2.ConnectResponse(heartbeat_ack=ack))
        if self._desired is not None:
            responses.append(node_link_pb2.ConnectResponse(desired_state=self._desired))
        for allocation_id, rank in self._acks:
            report_ack = node_link_pb2.MemberReportAck(allocation_id=allocation_id, rank=rank)
            responses.append(node_link_pb2.ConnectResponse(member_report_ack=report_ack))
        if self._spool_ack is not None:
            spool_id, sequence = self._spool_ack
            spool_ack = node_link_pb2.SpoolAck(spool_id=spool_id, sequence=sequence)
            responses.append(node_link_pb2.ConnectResponse(spool_ack=spool_ack))
        if self._certificate:
            responses.append(node_link_pb2.ConnectResponse(certificate=self._certificate))
        if self._farewell is not None:
            responses.append(node_link_pb2.ConnectResponse(disconnect=self._farewell))
        self._heartbeat, self._desired, self._certificate, self._farewell = None, None, b"", None
        self._spool_ack = None
        self._acks.clear()
        return responses
