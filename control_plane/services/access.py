"""Who may call what: the one table of RPCs, the role each one needs and the port that serves it.

A method that is not in the table cannot be called: the gate refuses it, and a test walks the contract to find it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from control_plane.model.identity import Role

PACKAGE: Final = "orquanta.v1"

REQUEST_BYTES_MAX: Final = 1 << 20
"""Bytes of a request, unless its rule says more."""

SIMULATION_BYTES_MAX: Final = 15 << 20
"""Bytes of a list of jobs to simulate."""


class Port(Enum):
    """The two gRPC ports."""

    PEOPLE = "people"
    """Server TLS; callers carry a token or an API key."""
    NODES = "nodes"
    """Mutual TLS; callers are known by their certificate."""


class Special(Enum):
    """Who may call what no role of a person decides."""

    PUBLIC = "public"
    """Anybody: the request itself carries the secret."""
    NODE = "node"
    """A host with a client certificate."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call one method, and on which port. `changes` is false for methods that only read.

    `people_only` refuses credentials that were made for agents: they never decide, and make no credentials. `bytes_max`
    bounds a request.
    """

    needs: Role | Special
    port: Port = Port.PEOPLE
    changes: bool = True
    people_only: bool = False
    bytes_max: int = REQUEST_BYTES_MAX


def _reads(needs: Role) -> Rule:
    return Rule(needs, changes=False)


def _decides(needs: Role) -> Rule:
    return Rule(needs, people_only=True)


_VIEWER, _USER, _OPERATOR, _ADMIN = Role.VIEWER, Role.USER, Role.OPERATOR, Role.ADMIN

_TABLE: Final[Mapping[str, Mapping[str, Rule]]] = {
    "GoalService": {
        "CreateGoal": Rule(_USER),
        "PreviewGoal": _reads(_VIEWER),
        "GetGoal": _reads(_VIEWER),
        "ListGoals": _reads(_VIEWER),
        "WatchGoal": _reads(_VIEWER),
        "CancelGoal": Rule(_USER),  # their own; anybody's for an operator
        "AnswerGoal": Rule(_USER),  # their own; anybody's for an operator
    },
    "JobService": {
        "SubmitJob": Rule(_USER),
        "GetJob": _reads(_VIEWER),
        "ListJobs": _reads(_VIEWER),
        "WatchJobs": _reads(_VIEWER),
        "CancelJob": Rule(_USER),  # their own; anybody's for an operator
        "ReadLogs": _reads(_VIEWER),
        "DiagnoseJob": _reads(_VIEWER),
        "ListJobTemplates": _reads(_VIEWER),
    },
    "QueueService": {
        "ListQueue": _reads(_VIEWER),
        "ExplainJob": _reads(_VIEWER),
        "Simulate": Rule(_VIEWER, changes=False, bytes_max=SIMULATION_BYTES_MAX),
    },
    "QuotaService": {
        "ListQuotas": _reads(_VIEWER),
        "SetQuota": _decides(_ADMIN),
        "RemoveQuota": _decides(_ADMIN),
        "AssignTeam": _decides(_ADMIN),
    },
    "NodeService": {
        "GetNode": _reads(_VIEWER),
        "ListNodes": _reads(_VIEWER),
        "WatchNodes": _reads(_VIEWER),
        "CordonNode": Rule(_OPERATOR),
        "UncordonNode": Rule(_OPERATOR),
        "DrainNode": Rule(_OPERATOR),
        "RepairNode": Rule(_OPERATOR),
        "VerifyNode": Rule(_OPERATOR),
        "QuarantineNode": Rule(_OPERATOR),
        "ReleaseNode": Rule(_OPERATOR),
        "UpdateCondition": Rule(_OPERATOR),
        "RevokeNode": Rule(_ADMIN),
        "CreateJoinToken": Rule(_OPERATOR),
        "ListJoinTokens": _reads(_OPERATOR),
        "RevokeJoinToken": Rule(_OPERATOR),
    },
    "IncidentService": {
        "GetIncident": _reads(_VIEWER),
        "ListIncidents": _reads(_VIEWER),
        "WatchIncidents": _reads(_VIEWER),
        "AcknowledgeIncident": Rule(_OPERATOR),
    },
    "ActionService": {
        "GetAction": _reads(_VIEWER),
        "ListActions": _reads(_VIEWER),
        "WatchActions": _reads(_VIEWER),
        "ApproveAction": _decides(_OPERATOR),
        "RejectAction": _decides(_OPERATOR),
        "UndoAction": Rule(_OPERATOR),
        "StopAll": Rule(_OPERATOR),
        "ResumeAll": _decides(_ADMIN),
        "GetKillSwitch": _reads(_VIEWER),
    },
    "AgentService": {
        "ListAgents": _reads(_VIEWER),
        "GetAgent": _reads(_VIEWER),
        "PauseAgent": Rule(_OPERATOR),
        "ResumeAgent": _decides(_OPERATOR),
        "PauseAllAgents": Rule(_OPERATOR),
        "ResumeAllAgents": _decides(_OPERATOR),
        "GetRun": _reads(_VIEWER),  # their own; anybody's for an operator
        "ListRuns": _reads(_VIEWER),  # their own; anybody's for an operator
        "WatchReasoning": _reads(_VIEWER),  # their own; anybody's for an operator
        "StopRun": Rule(_USER),  # their own; anybody's for an operator
        "GetReasoningStatus": _reads(_VIEWER),
        "ListReplicas": _reads(_VIEWER),
    },
    "AuditService": {
        "ListAuditRecords": _reads(_USER),  # of their own goals and jobs; everything for an operator
        "ExportAudit": _reads(_OPERATOR),
        "ListCheckpoints": _reads(_VIEWER),
        "VerifyAudit": _reads(_OPERATOR),
        "EraseAuditText": _decides(_ADMIN),
    },
    "PolicyService": {
        "GetPolicySet": _reads(_VIEWER),
        "ValidatePolicies": _reads(_VIEWER),
        "TestPolicies": _reads(_VIEWER),
        "ExplainAction": _reads(_VIEWER),
        "ReplayPolicies": _reads(_OPERATOR),
    },
    "GrantService": {
        "CreateGrant": _decides(_OPERATOR),
        "GetGrant": _reads(_VIEWER),
        "ListGrants": _reads(_VIEWER),
        "RevokeGrant": _decides(_OPERATOR),
    },
    "MemoryService": {
        "SearchMemories": _reads(_VIEWER),
        "GetMemory": _reads(_VIEWER),
        "ListMemories": _reads(_VIEWER),
        "DeleteMemory": Rule(_OPERATOR),
        "ExportMemories": _reads(_OPERATOR),
        "ImportMemories": Rule(_ADMIN),
        "GetMemoryStatus": _reads(_VIEWER),
    },
    "ToolService": {
        "ListTools": _reads(_VIEWER),
        "CallTool": Rule(_VIEWER),  # each tool says what it needs
    },
    "AuthService": {
        "Login": Rule(Special.PUBLIC),
        "WhoAmI": _reads(_VIEWER),
        "ChangePassword": _decides(_VIEWER),
        "CreateUser": _decides(_ADMIN),
        "ListUsers": _reads(_ADMIN),
        "UpdateUser": _decides(_ADMIN),
        "CreateApiKey": _decides(_VIEWER),
        "ListApiKeys": _reads(_VIEWER),
        "RevokeApiKey": _decides(_VIEWER),  # their own; anybody's for an admin
    },
    "MetricsService": {
        "GetFleetMetrics": _reads(_VIEWER),
        "GetTelemetry": _reads(_VIEWER),
        "GetTelemetryRollups": _reads(_VIEWER),
    },
    "CatalogService": {
        "ListPrices": _reads(_VIEWER),
    },
    "NodeLinkService": {
        "Join": Rule(Special.PUBLIC),
        "Connect": Rule(Special.NODE, Port.NODES),
    },
}

SERVED_ON_HOSTS: Final = frozenset({"NodeLocalService"})
"""Services of the contract that each daemon serves on its host, over a unix socket that its file mode guards. They
are on no port of the control plane, so no role opens them."""

RULES: Final[Mapping[str, Rule]] = {
    f"/{PACKAGE}.{service}/{method}": rule for service, methods in _TABLE.items() for method, rule in methods.items()
}
"""The table by full method name, as in `/orquanta.v1.JobService/GetJob`."""
