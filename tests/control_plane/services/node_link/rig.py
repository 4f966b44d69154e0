"""A control plane's node link for real: gRPC with TLS, CA, SQLite."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from grpc import aio

from control_plane.fleet.prices import PriceTable
from control_plane.governor.defaults import JobDefaults
from control_plane.governor.governor import Governor
from control_plane.governor.rules import Limits
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.credentials import Credentials
from control_plane.model.account import User
from control_plane.model.action import ActionState, Effect, LaunchJobs, NewJob, PlaceJob, Placement, Proposal
from control_plane.model.identity import Role
from control_plane.model.ids import ACTION, JOB, TOKEN, JobId, NodeId, TokenId, UserId, new_id, new_user_id
from control_plane.model.job import Allocation, Job, JobSpec, ResourceRequest
from control_plane.model.node import JoinTokenRecord, Node
from control_plane.model.record import AuditRecord
from control_plane.model.repair import Rung
from control_plane.services.access import Port
from control_plane.services.interceptors import Gate
from control_plane.services.link_admission import LinkAdmission
from control_plane.services.link_join import Joining
from control_plane.services.link_policy import LocalPolicies, PolicyTerms, RungTerms
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_server import NodeLinks
from control_plane.services.link_terms import LinkTerms
from control_plane.services.node_link import NodeLink
from control_plane.store import audit, jobs, nodes, tokens, users
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import page_request
from orquanta.v1 import node_link_pb2
from orquanta.v1.node_link_pb2_grpc import NodeLinkServiceStub, add_NodeLinkServiceServicer_to_server
from tests.control_plane.services.node_link.hosts import (
    PATIENCE_SECONDS,
    Host,
    MovableClock,
    signing_request,
    stamp,
)

T = TypeVar("T")
_DEFINITELY = {"grpc.enable_retries": 0}

LOCAL_TERMS = PolicyTerms(
    rungs={Rung.RESET_GPU: RungTerms(2, timedelta(days=1), may_stop_jobs=False)},
    total_count=4,
    total_period=timedelta(days=1),
    after=timedelta(seconds=60),
    lifetime=timedelta(days=7),
)


@dataclass
class Rig:
    """The control plane's side."""

    clock: MovableClock
    store: Store
    ca: CertificateAuthority
    credentials: Credentials
    registry: LinkRegistry
    links: NodeLinks
    governor: Governor
    user_id: UserId
    admission: LinkAdmission
    people_address: str = ""
    nodes_address: str = ""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def token(self, *, lifetime: timedelta = timedelta(hours=1), labels: Mapping[str, str] | None = None) -> str:
        """Make a join token; return what a host sends of it."""
        token_id: TokenId = new_id(TOKEN)
        issued = self.credentials.join_token(token_id, self.ca.root_der)
        now = self.clock.now()
        record = JoinTokenRecord(token_id, "root@localhost", now, now + lifetime, dict(labels or {}))
        await self.store.write(lambda tx: tokens.insert(tx, record, issued.secret_sha256))
        return "_".join(issued.text.split("_", 3)[:3])

    def join_request(
        self, token: str, name: str, key: ec.EllipticCurvePrivateKey, **changes: Any
    ) -> node_link_pb2.JoinRequest:  # Any: fields of the request
        fields: dict[str, Any] = {  # Any: as above
            "token": token,
            "certificate_signing_request": signing_request(key),
            "node_name": name,
            "host_time": stamp(self.clock.now()),
            "agent_version": "1.0",
        }
        return node_link_pb2.JoinRequest(**(fields | changes))

    async def call_join(
        self, request: node_link_pb2.JoinRequest, *, trust: bytes | None = None
    ) -> node_link_pb2.JoinResponse:
        credentials = grpc.ssl_channel_credentials(trust or self.ca.trust_pem)
        async with aio.secure_channel(self.people_address, credentials) as channel:
            response = await NodeLinkServiceStub(channel).Join(request, timeout=PATIENCE_SECONDS)
            assert isinstance(response, node_link_pb2.JoinResponse)
            return response

    async def join(self, name: str, *, gpus: int = 2) -> Host:
        key = ec.generate_private_key(ec.SECP256R1())
        response = await self.call_join(self.join_request(await self.token(), name, key))
        return Host(self, name, key, NodeId(response.node_id), response.certificate, gpus)

    async def propose(self, effect: Effect, *, proposer: str = "test") -> None:
        proposal = Proposal(new_id(ACTION), effect, proposer, "because", is_person=True, user_id=self.user_id)
        action = await self.governor.propose(proposal)
        assert action.state is ActionState.DONE, (action.state, action.decision, action.outcome)

    async def launch(self, gpus: int, **spec: Any) -> JobId:  # Any: fields of JobSpec
        job_id: JobId = new_id(JOB)
        fields: dict[str, Any] = {"name": "job", "command": "true", "max_runtime_seconds": 600}  # Any: as above
        made = JobSpec(resources=ResourceRequest(gpu_count=gpus), **(fields | spec))
        await self.propose(LaunchJobs((NewJob(job_id, made),)))
        return job_id

    async def place(self, job_id: JobId, *placements: tuple[Host, list[str]], epoch: int = 1) -> Allocation:
        chosen = tuple(Placement(rank, host.node_id, tuple(uuids)) for rank, (host, uuids) in enumerate(placements))
        await self.propose(PlaceJob(job_id, epoch, "H100", chosen, "it fits"))
        return (await self.job(job_id)).allocations[-1]

    async def job(self, job_id: JobId) -> Job:
        return await self.store.read(lambda tx: jobs.require(tx, job_id))

    async def node(self, node_id: NodeId) -> Node:
        return await self.store.read(lambda tx: nodes.resolve(tx, node_id))

    async def audited(self, node_id: str, action: str) -> list[AuditRecord]:
        page = await self.store.read(lambda tx: audit.page(tx, AuditFilter(node_id=node_id), page_request(500, "")))
        return [record for record in page.items if record.action == action]

    async def until(self, read: Callable[[Tx], T], true: Callable[[T], bool]) -> T:
        """Read again until it is true: not every change has an event to wait for."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            value = await self.store.read(read)
            while not true(value):
                await asyncio.sleep(0.01)
                value = await self.store.read(read)
            return value

    async def until_node(self, node_id: NodeId, true: Callable[[Node], bool]) -> Node:
        return await self.until(lambda tx: nodes.resolve(tx, node_id), true)

    async def until_job(self, job_id: JobId, true: Callable[[Job], bool]) -> Job:
        return await self.until(lambda tx: jobs.require(tx, job_id), true)


@asynccontextmanager
async def running(
    directory: Path, *, terms: LinkTerms | None = None, url: str = "", one_at_a_time: bool = False
) -> AsyncIterator[Rig]:
    """Run a control plane's node link on free ports; with `one_at_a_time` no host waits while another is greeted."""
    terms = terms or LinkTerms(flush_seconds=0.05, verdict_seconds=0.05)
    clock = MovableClock()
    async with AsyncExitStack() as stack:
        store = await Store.open(url or f"sqlite:///{directory / 'orquanta.db'}", clock=clock)
        stack.push_async_callback(store.close)
        ca = CertificateAuthority.load_or_create(directory / "ca", clock=clock)
        registry = LinkRegistry(clock=clock)
        policies = LocalPolicies(store, LOCAL_TERMS, sign=ca.sign_statement, clock=clock)
        await policies.start()
        admission = LinkAdmission(clock, at_once=1, waiting=0) if one_at_a_time else LinkAdmission(clock)
        links = NodeLinks(
            store,
            ca,
            store.feed,
            registry,
            clock=clock,
            terms=terms,
            policies=policies,
            nats_servers=lambda: ("tls://nats:4222",),
            admission=admission,
        )
        await links.start()
        governor = Governor(
            store,
            limits=Limits(approval_above_usd=Decimal(1_000_000), max_gpus_per_user=10_000),
            defaults=JobDefaults(3600, 10, 3),
            prices=PriceTable(),
        )
        rig = Rig(
            clock, store, ca, Credentials(bytes(32)), registry, links, governor, await _user(store, clock), admission
        )
        joining = Joining(
            store, ca, clock=clock, certificate_lifetime=timedelta(hours=24), link_servers=lambda: (rig.nodes_address,)
        )
        servicer = NodeLink(joining=joining, links=links)
        pair = ca.issue_server(["localhost", "127.0.0.1"])
        chain = [(pair.key_pem, pair.certificate.certificate_pem)]
        server_tls = grpc.ssl_server_credentials(chain)
        mutual_tls = grpc.ssl_server_credentials(chain, ca.trust_pem, require_client_auth=True)
        for port, credentials in ((Port.PEOPLE, server_tls), (Port.NODES, mutual_tls)):
            gate = Gate(port=port, authenticator=None, clock=clock)
            server = aio.server(interceptors=[gate], options=[("grpc.max_receive_message_length", 4 << 20)])
            add_NodeLinkServiceServicer_to_server(servicer, server)
            address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
            await server.start()
            stack.push_async_callback(server.stop, 0.1)
            if port is Port.PEOPLE:
                rig.people_address = address
            else:
                rig.nodes_address = address
        loops = asyncio.create_task(links.run())
        try:
            yield rig
            assert not loops.done(), loops
        finally:
            await links.close()
            loops.cancel()
            await asyncio.wait([loops])


async def _user(store: Store, clock: MovableClock) -> UserId:
    user = User(
        id=new_user_id(),
        email="root@localhost",
        role=Role.ADMIN,
        disabled=False,
        created_at=clock.now(),
        budget_usd=None,
        spent_usd=Decimal(0),
        reserved_usd=Decimal(0),
        max_gpus=None,
    )

    def ensure(tx: Tx) -> UserId:
        known = users.by_email(tx, user.email)
        if known is None:
            users.insert(tx, user, "x")
        return (known or user).id

    return await store.write(ensure)
