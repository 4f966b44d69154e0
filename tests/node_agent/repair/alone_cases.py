"""What a host may do alone, and what it is asked to decide, in as few words as tests need."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from node_agent.health.model import Condition, Rung
from node_agent.repair.alone import Climb, Moment, Use, Wait, decide
from node_agent.repair.model import Allowance, LocalPolicy, RepairState
from node_agent.repair.ports import HostJob

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
HOUR, DAY = 3_600.0, 86_400.0


def policy(**changes: object) -> LocalPolicy:
    made = LocalPolicy(
        node_id="n-1",
        version=7,
        issued_at=NOW - timedelta(hours=1),
        expires_at=NOW + timedelta(days=7),
        allowances={
            Rung.RESET_GPU: Allowance(2, DAY, may_stop_jobs=False),
            Rung.REBOOT_HOST: Allowance(1, DAY, may_stop_jobs=True),
        },
        total_count=10,
        total_period_seconds=DAY,
        after_seconds=300.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields of a policy, by name


def moment(seconds: float = 0.0, *, boot_id: str = "boot") -> Moment:
    return Moment(NOW + timedelta(seconds=seconds), 1_000.0 + seconds, boot_id)


def use(rung: Rung, outcome: RepairState | None, *, at: float = 0.0, condition_id: str = "gpu/GPU-0/xid") -> Use:
    return Use(f"r-{at}", rung, condition_id, moment(at), outcome)


def choose(
    conditions: list[Condition],
    uses: list[Use] | None = None,
    *,
    at: float = 0.0,
    allowed: LocalPolicy | None = None,
    jobs: list[HostJob] | None = None,
    down: float = 400.0,
    node_id: str = "n-1",
) -> Climb | Wait:
    return decide(
        conditions, uses or [], allowed or policy(), jobs or [], moment(at), node_id=node_id, link_down_seconds=down
    )


def rung_of(choice: Climb | Wait) -> Rung | None:
    return choice.rung if isinstance(choice, Climb) else None
