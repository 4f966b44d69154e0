"""A real server of the people's port, over TLS, on a real store; and clients of every role."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.bus.deltas import Deltas
from control_plane.clock import SystemClock
from control_plane.fleet.prices import PriceTable
from control_plane.governor.defaults import JobDefaults
from control_plane.governor.governor import Governor
from control_plane.governor.rules import Limits
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.credentials import Credentials
from control_plane.identity.passwords import Passwords
from control_plane.identity.tokens import AccessTokens
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.local import LocalMemory
from control_plane.model.account import User
from control_plane.model.action import PlaceJob, Placement, Proposal
from control_plane.model.identity import CertificateSerial, Role
from control_plane.model.ids import ACTION, NODE, JobId, NodeId, new_id, new_user_id
from control_plane.model.node import GpuInventory, HostInventory, Node, NodeState
from control_plane.reasoning.scripted import ScriptedModel
from control_plane.services.composition import (
    SERVER_OPTIONS,
    PeopleServices,
    ServiceDependencies,
    add_health_and_reflection,
)
from control_plane.services.nodes import JoinDetails
from control_plane.store import agents, nodes, users
from control_plane.store.database import Store
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.toolbox import Toolbox
from orquanta.ledger.signatures import Signer
from orquanta.v1 import (
    action_pb2_grpc,
    agent_pb2_grpc,
    audit_pb2_grpc,
    auth_pb2_grpc,
    catalog_pb2_grpc,
    goal_pb2_grpc,
    incident_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    metrics_pb2_grpc,
    node_pb2_grpc,
    tool_pb2_grpc,
)
from tests.fake_clock import FakeClock

PASSWORD = "correct horse battery"


@dataclass
class Client:
    """Every service's stub over one channel that carries one credential."""

    channel: aio.Channel
    user: User | None
    credential: str
    goals: goal_pb2_grpc.GoalServiceStub = field(init=False)
    jobs: job_pb2_grpc.JobServiceStub = field(init=False)
    nodes: node_pb2_grpc.NodeServiceStub = field(init=False)
    incidents: incident_pb2_grpc.IncidentServiceStub = field(init=False)
    actions: action_pb2_grpc.ActionServiceStub = field(init=False)
    agents: agent_pb2_grpc.AgentServiceStub = field(init=False)
    audit: audit_pb2_grpc.AuditServiceStub = field(init=False)
    auth: auth_pb2_grpc.AuthServiceStub = field(init=False)
    metrics: metrics_pb2_grpc.MetricsServiceStub = field(init=False)
    catalog: catalog_pb2_grpc.CatalogServiceStub = field(init=False)
    tools: tool_pb2_grpc.ToolServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.goals = goal_pb2_grpc.GoalServiceStub(self.channel)
        self.jobs = job_pb2_grpc.JobServiceStub(self.channel)
        self.nodes = node_pb2_grpc.NodeServiceStub(self.channel)
        self.incidents = incident_pb2_grpc.IncidentServiceStub(self.channel)
        self.actions = action_pb2_grpc.ActionServiceStub(self.channel)
        self.agents = agent_pb2_grpc.AgentServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)
        self.auth = auth_pb2_grpc.AuthServiceStub(self.channel)
        self.metrics = metrics_pb2_grpc.MetricsServiceStub(self.channel)
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(self.channel)
        self.tools = tool_pb2_grpc.ToolServiceStub(self.channel)

    async def call(self, method: str, raw: bytes) -> bytes:
        """Send raw bytes to a method of any kind and return its first response."""
        send: aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(method)
        async for response in send(raw):
            return response
        return b""


@dataclass
class Fleet:
    """A running server and all that it is made of."""

    store: Store
    clock: FakeClock
    governor: Governor
    services: PeopleServices
    access_tokens: AccessTokens
    passwords: Passwords
    credentials: Credentials
    logs: LogStore
    telemetry: TelemetryWindows
    deltas: Deltas
    model: ScriptedModel
    """Is not there unless a test gives it a name."""
    ca_pem: bytes
    port: int
    service_names: tuple[str, ...]
    _channels: list[aio.Channel] = field(default_factory=list)

    async def user(self, role: Role, *, email: str = "", budget_usd: Decimal | None = None) -> User:
        """Make an account whose password is PASSWORD."""
        user = User(
            id=(user_id := new_user_id()),
            email=email or f"{role.value}-{user_id[:8]}@example.com",
            role=role,
            disabled=False,
            created_at=self.clock.now(),
            budget_usd=budget_usd,
            spent_usd=Decimal(0),
            reserved_usd=Decimal(0),
            max_gpus=None,
        )
        hashed = self.passwords.hash(PASSWORD)
        await self.store.write(lambda tx: users.insert(tx, user, hashed))
        return user

    async def client(self, role: Role) -> Client:
        """Make an account and a client that carries its token."""
        return self.client_of(await self.user(role))

    def client_of(self, user: User) -> Client:
        """Return a client that carries a fresh token of an account."""
        token = self.access_tokens.issue(user.id, user.email, user.role).text
        return Client(self.channel(token), user, token)

    def anonymous(self, credential: str = "") -> Client:
        """Return a client that carries this credential, or none."""
        return Client(self.channel(credential), None, credential)

    def channel(self, credential: str = "") -> aio.Channel:
        """Open a TLS channel that sends this credential with every call."""
        tls = grpc.ssl_channel_credentials(root_certificates=self.ca_pem)
        if credential:
            tls = grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(credential))
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        channel = aio.secure_channel(f"127.0.0.1:{self.port}", tls, options=options)
        self._channels.append(channel)
        return channel

    async def node(self, name: str, *, gpu_type: str = "H100", gpus: int = 8) -> Node:
        """Record a node that takes jobs."""
        node_id = new_id(NODE)
        node = Node(
            id=node_id,
            name=name,
            state=NodeState.READY,
            status_reason="",
            cordoned=False,
            connected=True,
            inventory=HostInventory(
                hostname=name,
                boot_id="boot-1",
                agent_version="1",
                gpus=tuple(
                    GpuInventory(index, f"GPU-{name}-{index}", gpu_type, f"NVIDIA {gpu_type}", 80 << 30)
                    for index in range(gpus)
                ),
                address="10.0.0.1",
            ),
            labels={"rack": "r1"},
            certificate_serial=CertificateSerial("01"),
            certificate_expires_at=self.clock.now() + timedelta(days=1),
            last_seen_at=self.clock.now(),
            created_at=self.clock.now(),
            version=1,
        )
        await self.store.write(lambda tx: nodes.insert(tx, node))
        return node

    async def place(self, job_id: str, node: Node, gpu_count: int, *, epoch: int = 1) -> None:
        """Give a queued job its GPUs, as the scheduler would."""
        assert node.inventory is not None
        uuids = tuple(gpu.uuid for gpu in node.inventory.gpus[:gpu_count])
        action = await self.governor.propose(
            Proposal(
                id=new_id(ACTION),
                effect=PlaceJob(
                    job_id=JobId(job_id),
                    epoch=epoch,
                    gpu_type=node.inventory.gpus[0].gpu_type,
                    placements=(Placement(0, NodeId(node.id), uuids),),
                    reason="fits",
                ),
                proposer="scheduler_agent",
                reasoning="fits",
                is_person=False,
                job_id=JobId(job_id),
            )
        )
        assert action.state.value == "done", action.outcome

    async def register_agents(self, *names: str) -> None:
        """Record agents, as their loops do when they start."""
        for name in names:
            await self.store.write(partial(agents.register, name=name))

    async def close(self) -> None:
        """Close every client."""
        for channel in self._channels:
            await channel.close()


@asynccontextmanager
async def running_fleet(store: Store, clock: FakeClock, directory: Path) -> AsyncIterator[Fleet]:
    """Start the people's port on any free port."""
    # TLS libraries look at the real time.
    ca = CertificateAuthority.load_or_create(directory / "ca", clock=SystemClock())
    pair = ca.issue_server(["localhost", "127.0.0.1"])
    prices = PriceTable()
    defaults = JobDefaults(max_runtime_seconds=24 * 3600, stop_grace_seconds=30, max_attempts=3)
    governor = Governor(
        store,
        limits=Limits(approval_above_usd=Decimal(500), max_gpus_per_user=64),
        defaults=defaults,
        prices=prices,
    )
    planner = Orchestrator(store, governor, defaults=defaults, clock=clock)
    await planner.start()
    await store.write(lambda tx: agents.register(tx, "scheduler_agent"))
    passwords = Passwords(time_cost=1, memory_kib=8, parallelism=1)
    access_tokens = AccessTokens(b"k" * 32, clock=clock)
    credentials = Credentials(b"d" * 32)
    logs = LogStore(directory / "logs", poll_seconds=0.01, drain_seconds=0.01)
    await logs.start()
    telemetry = TelemetryWindows(clock=clock)
    deltas = Deltas()
    memory = LocalMemory(directory / "memory.db", HashedNgrams(), clock=clock)
    model = ScriptedModel([], model_name="")
    toolbox = Toolbox(
        store,
        governor,
        logs=logs,
        telemetry=telemetry,
        memory=None,
        prices=prices,
        clock=clock,
        reasoner=model,
    )
    services = PeopleServices(
        ServiceDependencies(
            store=store,
            governor=governor,
            planner=planner,
            prices=prices,
            logs=logs,
            telemetry=telemetry,
            toolbox=toolbox,
            passwords=passwords,
            access_tokens=access_tokens,
            credentials=credentials,
            join=JoinDetails(server="localhost:50051", ca_certificate_der=ca.root_der),
            audit_signer=Signer(bytes(range(32))),
            deltas=deltas,
            clock=clock,
            memory=memory,
        )
    )
    server = aio.server(interceptors=[services.gate], options=SERVER_OPTIONS)
    names = services.add_to(server)
    health = await add_health_and_reflection(server, names)
    tls = grpc.ssl_server_credentials([(pair.key_pem, pair.certificate.certificate_pem)])
    port = server.add_secure_port("127.0.0.1:0", tls)
    await server.start()
    fleet = Fleet(
        store=store,
        clock=clock,
        governor=governor,
        services=services,
        access_tokens=access_tokens,
        passwords=passwords,
        credentials=credentials,
        logs=logs,
        telemetry=telemetry,
        deltas=deltas,
        model=model,
        ca_pem=ca.trust_pem,
        port=port,
        service_names=tuple(names),
    )
    try:
        yield fleet
    finally:
        await fleet.close()
        await health.enter_graceful_shutdown()
        await server.stop(0)
        await memory.close()


def a_job(name: str = "train", **spec: Any) -> job_pb2.JobSpec:  # Any: fields of a message
    """Return a job that asks for one GPU for an hour."""
    fields: dict[str, Any] = {"command": "true", "max_runtime_seconds": 3600, **spec}
    return job_pb2.JobSpec(name=name, resources=fields.pop("resources", job_pb2.ResourceRequest(gpu_count=1)), **fields)
