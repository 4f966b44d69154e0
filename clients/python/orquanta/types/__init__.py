"""What calls return: frozen dataclasses, one file per noun.

Money is `Decimal` in US dollars, times are aware UTC datetimes, `None` means "not set" and an empty string
means "none". An enum value that this version does not know reads as `UNKNOWN`.
"""

from orquanta.types.accounts import ApiKey, NewApiKey, Role, Session, User
from orquanta.types.actions import Action, ActionState, KillSwitch
from orquanta.types.agents import Agent, AgentStatus
from orquanta.types.audit import AuditRecord
from orquanta.types.catalog import Price
from orquanta.types.goals import (
    Bill,
    BillLine,
    Evidence,
    Goal,
    GoalState,
    GoalView,
    Plan,
    PlannedJob,
    Preview,
    Question,
)
from orquanta.types.jobs import (
    Allocation,
    AllocationMember,
    AllocationState,
    ExitReason,
    Job,
    JobPriority,
    JobSpec,
    JobState,
    JobTemplate,
    LogChunk,
    LogStream,
    ResourceRequest,
    Submission,
)
from orquanta.types.metrics import FleetMetrics, GpuSample, GpuTypeMetrics, HostSample, NodeTelemetry
from orquanta.types.nodes import (
    Gpu,
    GpuHealth,
    GpuInventory,
    HostInventory,
    JoinToken,
    NewJoinToken,
    Node,
    NodeState,
)

__all__ = [
    "Action",
    "ActionState",
    "Agent",
    "AgentStatus",
    "Allocation",
    "AllocationMember",
    "AllocationState",
    "ApiKey",
    "AuditRecord",
    "Bill",
    "BillLine",
    "Evidence",
    "ExitReason",
    "FleetMetrics",
    "Goal",
    "GoalState",
    "GoalView",
    "Gpu",
    "GpuHealth",
    "GpuInventory",
    "GpuSample",
    "GpuTypeMetrics",
    "HostInventory",
    "HostSample",
    "Job",
    "JobPriority",
    "JobSpec",
    "JobState",
    "JobTemplate",
    "JoinToken",
    "KillSwitch",
    "LogChunk",
    "LogStream",
    "NewApiKey",
    "NewJoinToken",
    "Node",
    "NodeState",
    "NodeTelemetry",
    "Plan",
    "PlannedJob",
    "Preview",
    "Price",
    "Question",
    "ResourceRequest",
    "Role",
    "Session",
    "Submission",
    "User",
]
