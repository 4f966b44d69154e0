"""How many nodes are out of service: in a snapshot at every change, and in the audit, which misses nothing between."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from orquanta.types.audit import AuditRecord
from orquanta.types.nodes import Node, NodeState

OUT_OF_SERVICE = frozenset(
    {NodeState.DRAINING, NodeState.REPAIRING, NodeState.VERIFYING, NodeState.QUARANTINED, NodeState.LOST}
)

_HELD = frozenset({"repair_node.done", "drain_node.done", "quarantine_node.done", "repair.local"})
_HELD_TOGETHER = "nodes.take_out"
_RELEASED = frozenset({"release_node.done", "node.give_back"})
_DRY_RUN = "say what this would do"
"""How the summary of an action begins that changes nothing."""
_LOST = "node.lost"
_BACK = frozenset({f"node.{state}" for state in NodeState if state is not NodeState.LOST})


@dataclass(slots=True)
class Levels:
    """The most nodes that were ever seen out of service at once, fleet-wide and per rack."""

    fleet_most: int = 0
    rack_most: dict[str, int] = field(default_factory=dict)
    snapshots: int = 0

    def see(self, nodes: Iterable[Node]) -> None:
        """Take note of all nodes at one moment."""
        out = [node.labels.get("rack", "") for node in nodes if node.state in OUT_OF_SERVICE]
        self.snapshots += 1
        self.fleet_most = max(self.fleet_most, len(out))
        for rack in set(out) - {""}:
            self.rack_most[rack] = max(self.rack_most.get(rack, 0), out.count(rack))


def audited(records: Iterable[AuditRecord]) -> int:
    """Return the most nodes that were out of service at once by the audit; `records` are oldest first."""
    held: set[str] = set()
    lost: set[str] = set()
    most = 0
    for record in records:
        if record.action in _HELD and not _is_dry_run(record):
            held.add(record.node_id)
        elif record.action == _HELD_TOGETHER:
            held.update(json.loads(record.payload_json)["node_ids"])
        elif record.action in _RELEASED:
            held.discard(record.node_id)
        elif record.action == _LOST:
            lost.add(record.node_id)
        elif record.action in _BACK:
            lost.discard(record.node_id)
        most = max(most, len(held | lost))
    return most


def _is_dry_run(record: AuditRecord) -> bool:
    return str(json.loads(record.payload_json or "{}").get("summary", "")).startswith(_DRY_RUN)
