"""What waits to be said on the stream: the newest state of each thing, not a history of it.

So it is bounded by the number of members on the host, and a slow stream costs detail, never order or memory. Batches of
the spool alone are a history; the sender of them keeps their number small.
"""

import asyncio

from orquanta.v1 import node_link_pb2, node_pb2, repair_pb2


class Outbox:
    """Collects messages for one stream; the newest of a kind replaces the one that still waits."""

    def __init__(self) -> None:
        self._waiting = asyncio.Event()
        self._heartbeat: node_link_pb2.Heartbeat | None = None
        self._signing_request: bytes = b""
        self._inventory: node_pb2.HostInventory | None = None
        self._reports: dict[tuple[str, int], node_link_pb2.MemberReport] = {}
        self._batches: list[node_link_pb2.SpoolBatch] = []
        self._repair: repair_pb2.RepairReport | None = None

    def put_heartbeat(self, heartbeat: node_link_pb2.Heartbeat) -> None:
        """Say that the host is alive."""
        self._heartbeat = heartbeat
        self._waiting.set()

    def put_signing_request(self, pem: bytes) -> None:
        """Ask for a fresh certificate."""
        self._signing_request = pem
        self._waiting.set()

    def put_inventory(self, inventory: node_pb2.HostInventory) -> None:
        """Say that the hardware changed."""
        self._inventory = inventory
        self._waiting.set()

    def put_report(self, report: node_link_pb2.MemberReport) -> None:
        """Say that a member changed."""
        self._reports[report.allocation_id, report.rank] = report
        self._waiting.set()

    def put_batch(self, batch: node_link_pb2.SpoolBatch) -> None:
        """Send records of the spool."""
        self._batches.append(batch)
        self._waiting.set()

    def put_repair(self, report: repair_pb2.RepairReport) -> None:
        """Say how the repair in progress stands; there is one at a time."""
        self._repair = report
        self._waiting.set()

    async def take(self) -> list[node_link_pb2.ConnectRequest]:
        """Wait until something is to be said and return all of it; heartbeats first, as they carry the lease."""
        await self._waiting.wait()
        self._waiting.clear()
        requests = []
        if self._heartbeat is not None:
            requests.append(node_link_pb2.ConnectRequest(heartbeat=self._heartbeat))
        requests += [node_link_pb2.ConnectRequest(spool=batch) for batch in self._batches]
        if self._repair is not None:
            requests.append(node_link_pb2.ConnectRequest(repair_report=self._repair))
        if self._inventory is not None:
            requests.append(node_link_pb2.ConnectRequest(inventory=self._inventory))
        requests += [node_link_pb2.ConnectRequest(member_report=report) for report in self._reports.values()]
        if self._signing_request:
            requests.append(node_link_pb2.ConnectRequest(certificate_signing_request=self._signing_request))
        self._heartbeat, self._inventory, self._signing_request = None, None, b""
        self._repair = None
        self._batches.clear()
        self._reports.clear()
        return requests
