"""The audit: who decided what, and why."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record of the append-only audit.

    `cost_impact_usd` is money reserved (positive) or given back (negative). `hash` is the SHA-256 of the record and
    all before it, in hex. Once `erased`, the words of people are gone: author, reasoning and payload.
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
    run_id: str = ""
    hash: str = ""
    erased: bool = False


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """How the log stands.

    `fault` is what was done to it ("edit", "deletion", "reorder", "truncation", "fork", "signature"), or empty; `at_id`
    is the record at which that was found.
    """

    intact: bool
    fault: str
    text: str
    at_id: int
    records: int
    checkpoints: int
