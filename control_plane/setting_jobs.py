"""Jobs: when a host counts as lost, what needs approval, the queue, and the bounds of a job that names none."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from control_plane.setting_forms import (
    WebhookUrls,
)
from control_plane.setting_section import Seconds, SettingSection, WholeSeconds


class JobSettings(SettingSection):
    """Jobs: when a host counts as lost, what needs approval, the queue, and the bounds of a job that names none."""

    lease_seconds: Seconds = 15.0
    """A node silent for this long is lost: it gets no new jobs. Thousands of nodes are given longer, by themselves."""
    heartbeat_seconds: Seconds = 3.0
    """How often a daemon says that it is alive, in seconds; shorter than the lease."""
    fence_seconds: Seconds = 300.0
    """A host out of contact for this long stops its jobs by itself; only then are they started elsewhere."""
    fence_margin_seconds: Seconds = 5.0
    """Waited on top of lease and fence before jobs of a lost node are started elsewhere."""
    approval_above_usd: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal(100)
    """A launch that may cost more than this, in US dollars, waits for a person's approval."""
    approval_webhook_urls: WebhookUrls = ()
    """Addresses that are told what waits for approval, what was decided, and which incidents need a person; secret."""
    approval_webhook_kind: Literal["json", "slack"] = "json"
    """What those addresses understand: JSON with fields, or {"text": ...} as Slack, Mattermost and others take it."""
    max_gpus_per_user: Annotated[int, Field(ge=0)] = 64
    """GPUs that one user may hold at a time, unless the account says otherwise."""
    queue_order: Literal["fair_share", "fifo"] = "fair_share"
    """In which order jobs are served: teams and users by what they hold already, or first come, first served."""
    queue_backfill: bool = True
    """Start smaller jobs in gaps where that delays no job before them."""
    queue_preemption: bool = True
    """Have attempts make way for a waiting job of higher priority, or of a team that gets back what is its own."""
    queue_aging_seconds: Seconds = 21_600.0
    """A job climbs one priority for each time as long as this that it waits."""
    queue_min_runtime_seconds: Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)] = 600.0
    """How long an attempt is safe from making way for others."""
    queue_packing: Literal["node_value", "fgd", "best_fit", "random"] = "node_value"
    """How hosts are chosen among those with room: where least is lost for other jobs, by fragmentation, fullest
    first, or at random."""
    preemptions_max: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Attempts that may be making way at once for other jobs than the one that asks for more."""
    default_max_runtime_seconds: WholeSeconds = 14_400
    """Wall-clock limit of a job that names none."""
    default_stop_grace_seconds: WholeSeconds = 10
    """Time between SIGTERM and SIGKILL for a job that names none."""
    default_max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Attempts of a job that names none, when hosts fail."""
