"""The audit: who decided what, and why."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record of the append-only audit.

    `cost_impact_usd` is money reserved (positive) or given back (negative).
    """

    id: int
    agent_name: str
    action: str
    reasoning: str
    payload_json: str
    outcome: str
    cost_impact_usd: Decimal
    created_at: datetime | None
    action_id: str
    goal_id: str
    job_id: str
    node_id: str
