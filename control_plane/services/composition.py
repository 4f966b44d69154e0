"""Puts the services of the people's port together; the composition root passes the parts in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control_plane.bus.deltas import Deltas
from control_plane.clock import Clock
from control_plane.fleet.prices import PriceTable
from control_plane.governor.governor import Governor
from control_plane.identity.credentials import Credentials
from control_plane.identity.passwords import Passwords
from control_plane.identity.tokens import AccessTokens
from control_plane.memory.contract import MemoryStore
from control_plane.reasoning.contract import ReasoningReport
from control_plane.reasoning.rules_only import NO_MODELS
from control_plane.replicas.directory import Directory
from control_plane.scheduling.view import QueueSettings, QueueView
from control_plane.services.access import PACKAGE, Port
from control_plane.services.actions import Actions
from control_plane.services.agents import Agents
from control_plane.services.audit import Audit
from control_plane.services.auth import Auth
from control_plane.services.authentication import Authenticator
from control_plane.services.bounded import Bounded
from control_plane.services.call_traces import Called, CallTraces
from control_plane.services.catalog import Catalog
from control_plane.services.goals import GoalPlanner, Goals
from control_plane.services.grants import Grants
from control_plane.services.incidents import Incidents
from control_plane.services.interceptors import Gate
from control_plane.services.job_cache import GET_JOB, JobCache
from control_plane.services.jobs import Jobs
from control_plane.services.logs import JobLogs
from control_plane.services.memories import Memories
from control_plane.services.metrics import Metrics
from control_plane.services.nodes import JoinDetails, Nodes
from control_plane.services.policies import Policies
from control_plane.services.queue import Queues
from control_plane.services.quotas import Quotas
from control_plane.services.reasoning_stream import ReasoningStream
from control_plane.services.throttle import LoginThrottle
from control_plane.services.tool_taint import TaintBook
from control_plane.services.tools import Tools
from control_plane.services.watch import Watcher
from control_plane.store.database import Store
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.toolbox import Toolbox
from control_plane.tracing.outbox import Outbox
from orquanta.ledger.signatures import Signer
from orquanta.v1 import (
    action_pb2_grpc,
    agent_pb2_grpc,
    audit_pb2_grpc,
    auth_pb2_grpc,
    catalog_pb2_grpc,
    goal_pb2_grpc,
    grant_pb2_grpc,
    incident_pb2_grpc,
    job_pb2_grpc,
    memory_pb2_grpc,
    metrics_pb2_grpc,
    node_pb2_grpc,
    policy_pb2_grpc,
    queue_pb2_grpc,
    quota_pb2_grpc,
    tool_pb2_grpc,
)

CONCURRENT_CALLS_MAX: Final = 4_000
"""Calls in progress at once on one port, streams included; more are refused with RESOURCE_EXHAUSTED."""

# gRPC reads a message whole before it looks at its own bound, so a lower one would save no memory, and what lies
# between the gate's bound and this one gets the gate's better error.
_RECEIVED_BYTES_MAX: Final = 16 << 20

SERVER_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.max_receive_message_length", _RECEIVED_BYTES_MAX),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.max_concurrent_streams", 1_000),  # of one connection
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
)
"""Pass these to `grpc.aio.server(options=...)`, for both ports."""

_HASHING_AT_ONCE: Final = 2  # 64 MiB each
_HASHING_WAITING: Final = 32
_PLANNING_AT_ONCE: Final = 2
_PLANNING_WAITING: Final = 64
_POLICIES_WAITING: Final = 8


@dataclass(frozen=True, slots=True)
class ServiceDependencies:
    """What the services of the people's port are made of."""

    store: Store
    governor: Governor
    planner: GoalPlanner
    prices: PriceTable
    logs: LogStore
    telemetry: TelemetryWindows
    toolbox: Toolbox
    passwords: Passwords
    access_tokens: AccessTokens
    credentials: Credentials
    join: JoinDetails
    clock: Clock
    audit_signer: Signer
    reasoning: ReasoningReport = NO_MODELS
    access_log: bool = False
    deltas: Deltas = field(default_factory=Deltas)
    memory: MemoryStore | None = None
    queue: QueueSettings = field(default_factory=QueueSettings)
    directory: Directory | None = None
    spans: Outbox | None = None
    called: Called | None = None


class PeopleServices:
    """The services, and the gate that must stand before them.

    Make it first, make the server with `interceptors=[services.gate]`, then call `add_to`.
    """

    def __init__(self, deps: ServiceDependencies) -> None:
        self.authenticator = Authenticator(store=deps.store, access_tokens=deps.access_tokens, clock=deps.clock)
        feed = deps.store.feed
        watcher = Watcher(deps.store, feed)
        cache = JobCache(feed)
        self.gate = Gate(
            port=Port.PEOPLE,
            authenticator=self.authenticator,
            clock=deps.clock,
            shortcuts={GET_JOB: cache.shortcut},
            access_log=deps.access_log,
            traces=CallTraces(deps.clock, deps.spans, deps.called),
        )
        self._goals = Goals(
            store=deps.store,
            planner=deps.planner,
            watcher=watcher,
            planning=Bounded(at_once=_PLANNING_AT_ONCE, waiting=_PLANNING_WAITING),
        )
        self._jobs = Jobs(
            store=deps.store,
            governor=deps.governor,
            watcher=watcher,
            logs=JobLogs(store=deps.store, feed=feed, logs=deps.logs),
            diagnoses=deps.toolbox.diagnoses,
            cache=cache,
        )
        self._nodes = Nodes(
            store=deps.store,
            governor=deps.governor,
            watcher=watcher,
            credentials=deps.credentials,
            join=deps.join,
        )
        self._incidents = Incidents(store=deps.store, watcher=watcher)
        self._actions = Actions(store=deps.store, governor=deps.governor, watcher=watcher)
        self._grants = Grants(store=deps.store)
        self._agents = Agents(
            store=deps.store,
            reasoning=deps.reasoning,
            stream=ReasoningStream(deps.store, feed, deps.deltas),
            directory=deps.directory,
        )
        self._audit = Audit(store=deps.store, signer=deps.audit_signer)
        self._auth = Auth(
            store=deps.store,
            passwords=deps.passwords,
            access_tokens=deps.access_tokens,
            credentials=deps.credentials,
            authenticator=self.authenticator,
            throttle=LoginThrottle(deps.clock),
            hashing=Bounded(at_once=_HASHING_AT_ONCE, waiting=_HASHING_WAITING),
        )
        self._metrics = Metrics(store=deps.store, telemetry=deps.telemetry, prices=deps.prices, gpus=deps.toolbox.gpus)
        self._catalog = Catalog(prices=deps.prices)
        self._policies = Policies(
            store=deps.store,
            governor=deps.governor,
            checking=Bounded(at_once=1, waiting=_POLICIES_WAITING),
            replaying=Bounded(at_once=1, waiting=_POLICIES_WAITING),
        )
        queue = QueueView(deps.store, deps.queue)
        self._queues = Queues(store=deps.store, view=queue, prices=deps.prices)
        self._quotas = Quotas(store=deps.store, view=queue)
        self._memories = Memories(store=deps.store, memory=deps.memory)
        self._tools = Tools(store=deps.store, toolbox=deps.toolbox, taint=TaintBook(deps.store, deps.clock))

    def add_to(self, server: aio.Server) -> list[str]:
        """Register every service; return their full names, for reflection and health."""
        goal_pb2_grpc.add_GoalServiceServicer_to_server(self._goals, server)
        job_pb2_grpc.add_JobServiceServicer_to_server(self._jobs, server)
        node_pb2_grpc.add_NodeServiceServicer_to_server(self._nodes, server)
        incident_pb2_grpc.add_IncidentServiceServicer_to_server(self._incidents, server)
        action_pb2_grpc.add_ActionServiceServicer_to_server(self._actions, server)
        grant_pb2_grpc.add_GrantServiceServicer_to_server(self._grants, server)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self._agents, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self._audit, server)
        auth_pb2_grpc.add_AuthServiceServicer_to_server(self._auth, server)
        metrics_pb2_grpc.add_MetricsServiceServicer_to_server(self._metrics, server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(self._catalog, server)
        tool_pb2_grpc.add_ToolServiceServicer_to_server(self._tools, server)
        memory_pb2_grpc.add_MemoryServiceServicer_to_server(self._memories, server)
        policy_pb2_grpc.add_PolicyServiceServicer_to_server(self._policies, server)
        queue_pb2_grpc.add_QueueServiceServicer_to_server(self._queues, server)
        quota_pb2_grpc.add_QuotaServiceServicer_to_server(self._quotas, server)
        return [f"{PACKAGE}.{name}" for name in _SERVICES]


_SERVICES: Final = (
    "ActionService",
    "AgentService",
    "AuditService",
    "AuthService",
    "CatalogService",
    "GoalService",
    "GrantService",
    "IncidentService",
    "JobService",
    "MemoryService",
    "MetricsService",
    "NodeService",
    "PolicyService",
    "QueueService",
    "QuotaService",
    "ToolService",
)


async def add_health_and_reflection(server: aio.Server, service_names: Sequence[str]) -> health.aio.HealthServicer:
    """Register the standard health and reflection services for `service_names`; all of them are SERVING.

    On shutdown, await `enter_graceful_shutdown()` on what is returned, then stop the server.
    """
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    for name in service_names:
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    listed = (*service_names, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    reflection.enable_server_reflection(listed, server)
    return servicer
