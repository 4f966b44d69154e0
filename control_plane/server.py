"""The composition root: makes every part, hands each what it needs, and closes them in reverse order."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog

from control_plane import healing_terms, memory_terms, model_terms, queue_terms, tracing_terms
from control_plane.agents.revocation import Revocation
from control_plane.broker import Broker, open_broker
from control_plane.bus.deltas import Deltas
from control_plane.clock import SystemClock
from control_plane.credentials import Certificates
from control_plane.exposing_terms import Exposition
from control_plane.first_start import FirstAdmin, ensure_admin
from control_plane.governor.policy.book import PolicyBook
from control_plane.heap import Heap
from control_plane.identity.credentials import Credentials
from control_plane.identity.passwords import Passwords
from control_plane.identity.secrets import SecretBox
from control_plane.identity.tokens import AccessTokens
from control_plane.leading import Parts, deciders, imported, leader_loops, put_into_force
from control_plane.listeners import Listeners
from control_plane.loops import Loop, renew_certificates, run_loops
from control_plane.model.ids import NodeId
from control_plane.ports import certificate_names, hold_port, reachable
from control_plane.price_file import load_prices
from control_plane.reasoning.assemble import assemble
from control_plane.replication import Addresses, Replication
from control_plane.services.composition import (
    PeopleServices,
    ServiceDependencies,
)
from control_plane.services.link_join import Joining
from control_plane.services.link_peers import LinkPeers
from control_plane.services.link_policy import LocalPolicies
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_server import NodeLinks
from control_plane.services.link_terms import LinkTerms
from control_plane.services.node_link import NodeLink
from control_plane.services.nodes import JoinDetails
from control_plane.settings import Settings
from control_plane.state_dir import announce, claim
from control_plane.store.database import Store
from control_plane.telemetry.ingest import TelemetryIngest
from control_plane.telemetry.log_ingest import LogIngest
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.urgency import Urgency
from orquanta.ledger.signatures import Signer

log = structlog.get_logger()

_GRACE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Serving:
    """What a person needs to know once the control plane serves."""

    people_server: str
    nodes_server: str
    ca_certificate_file: Path
    first_admin: FirstAdmin | None
    nats_issuer: str | None


class ControlPlane:
    """One control plane in this process. `run` serves until `stop` is set."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._urgency = Urgency()
        with ExitStack() as held:
            self._people_port = held.enter_context(hold_port("people_address", settings.people_address))
            self._nodes_port = held.enter_context(hold_port("nodes_address", settings.nodes_address))
            self._held = held.pop_all()

    async def run(self, stop: asyncio.Event, when_serving: Callable[[Serving], None]) -> None:
        """Start everything, serve until `stop` is set, and stop everything.

        Raises OrQuantaError, saying what to do, when something cannot be started; then nothing is left running.
        """
        settings = self._settings
        async with AsyncExitStack() as stack:
            stack.enter_context(self._held)
            claim(stack, settings.state_dir)
            certificates = Certificates(
                settings,
                certificate_names((settings.people_address, settings.nodes_address), settings.advertise_names),
                clock=self._clock,
            )
            secrets = SecretBox.load_or_create(settings.identity)
            audit_signer = Signer(secrets.audit_seed)
            prices = load_prices(settings.price_file)
            store = await Store.open(settings.database, clock=self._clock, shared=settings.replicated)
            stack.push_async_callback(store.close)
            passwords = Passwords()
            broker = await open_broker(stack, settings, certificates, secrets, store, clock=self._clock)
            book = PolicyBook()
            replication = self._replication(store, broker, book)
            if replication is not None:
                await replication.check_identity(certificates, secrets)
            first_admin = await ensure_admin(
                store,
                passwords,
                email=settings.admin_email,
                password=settings.password("admin_password"),
                clock=self._clock,
            )
            reasoner = assemble(
                model_terms.endpoints(settings),
                store,
                clock=self._clock,
                cost_per_day_usd=settings.model_cost_per_day_usd,
            )
            stack.push_async_callback(reasoner.close)
            await reasoner.start()
            logs = await _logs(settings)
            memory = memory_terms.opened(stack, settings, clock=self._clock)
            windows = TelemetryWindows(clock=self._clock)
            await stack.enter_async_context(TelemetryIngest(broker.bus, windows, urgency=self._urgency))
            tracing = tracing_terms.opened(stack, settings)
            exposition = Exposition(settings, store, broker.bus, windows, tracing.outbox)
            parts = Parts(
                settings=settings,
                clock=self._clock,
                bus=broker.bus,
                book=book,
                prices=prices,
                reasoner=reasoner,
                logs=logs,
                windows=windows,
                memory=memory,
                deltas=Deltas(),
                foreign=imported(settings),
                audit_signer=audit_signer,
                urgency=self._urgency,
                spans=tracing.outbox,
            )
            made = deciders(parts, store)
            if replication is None:
                await put_into_force(parts, made)
            links = await self._links(stack, store, certificates, broker, replication)
            people = PeopleServices(
                ServiceDependencies(
                    store=store,
                    governor=made.governor,
                    planner=made.orchestrator,
                    prices=prices,
                    logs=logs,
                    telemetry=windows,
                    toolbox=made.toolbox,
                    passwords=passwords,
                    access_tokens=AccessTokens(secrets.jwt_key, clock=self._clock),
                    credentials=Credentials(secrets.derivation_key),
                    join=JoinDetails(self._people_server, certificates.ca.root_der),
                    clock=self._clock,
                    audit_signer=audit_signer,
                    deltas=parts.deltas,
                    reasoning=reasoner,
                    memory=memory,
                    access_log=settings.log_level == "debug",
                    queue=queue_terms.settings_of(settings),
                    directory=None if replication is None else replication.directory,
                    spans=tracing.outbox,
                    called=exposition.called,
                )
            )
            node_link = NodeLink(joining=self._joining(store, certificates, replication), links=links)

            async def cut(node_id: NodeId) -> None:
                windows.forget(node_id)
                await broker.callout.disconnect(node_id)

            loops: list[Loop] = [
                links.run,
                Heap(self._clock, urgent=lambda: self._urgency.is_urgent).run,
                made.toolbox.run,
                LogIngest(
                    broker.bus, logs, store, clock=self._clock, replica=replication.name if replication else ""
                ).run,
                Revocation(store, cut).run,
                lambda: renew_certificates(certificates, broker),
                *tracing.loops(),
                *exposition.loops(
                    lambda: len(links.registry.connected_nodes()), lambda: replication is None or replication.leads
                ),
            ]
            if replication is None:
                loops += leader_loops(parts, made, links.registry)
            else:
                loops += replication.loops(parts, verdict_seconds=LinkTerms().verdict_seconds)
            await run_loops(stack, loops, stop)
            if replication is not None:
                await replication.follower.ready(stop)
            await self._listen(stack, certificates, people, node_link)
            stack.push_async_callback(links.close)
            when_serving(self._serving(certificates, first_admin, secrets.nats_issuer_public_key))
            await stop.wait()
            log.info("control_plane.stopping")

    async def _listen(
        self, stack: AsyncExitStack, certificates: Certificates, people: PeopleServices, node_link: NodeLink
    ) -> None:
        """Open both ports, and leave word of where they are."""
        settings = self._settings
        ports = {"people_port": self._people_port.port, "nodes_port": self._nodes_port.port}
        listeners = Listeners(settings, certificates, **ports)
        await listeners.open(stack, people, node_link, clock=self._clock)
        announce(
            stack,
            settings.state_dir,
            server=self._people_server,
            link_server=self._nodes_server,
            ca_certificate=certificates.trust_file,
        )

    def _serving(self, certificates: Certificates, first_admin: FirstAdmin | None, nats_issuer: str) -> Serving:
        issuer = nats_issuer if self._settings.nats_url else None
        return Serving(self._people_server, self._nodes_server, certificates.trust_file, first_admin, issuer)

    @property
    def _people_server(self) -> str:
        return reachable(self._settings.people_address, self._people_port.port, self._settings.advertise_names)

    @property
    def _nodes_server(self) -> str:
        return reachable(self._settings.nodes_address, self._nodes_port.port, self._settings.advertise_names)

    def _replication(self, store: Store, broker: Broker, book: PolicyBook) -> Replication | None:
        if broker.bucket is None:
            return None
        addresses = Addresses(self._people_server, self._nodes_server)
        return Replication(self._settings, store, broker.bus, broker.bucket, book, addresses)

    async def _links(
        self,
        stack: AsyncExitStack,
        store: Store,
        certificates: Certificates,
        broker: Broker,
        replication: Replication | None,
    ) -> NodeLinks:
        settings = self._settings
        policies = LocalPolicies(
            store,
            healing_terms.local_terms(settings),
            sign=certificates.ca.sign_statement,
            clock=self._clock,
            may_change=lambda: replication is None or replication.leads,
        )
        await policies.start()
        terms = LinkTerms(
            heartbeat_seconds=settings.heartbeat_seconds,
            lease_seconds=settings.lease_seconds,
            fence_seconds=settings.fence_seconds,
            certificate_lifetime=timedelta(hours=settings.node_certificate_hours),
        )
        registry = LinkRegistry(clock=self._clock, shared=replication is not None)
        peers = None
        if replication is not None:
            # The leader learns from the database which hosts the others have heard.
            terms = replace(terms, flush_seconds=min(terms.flush_seconds, terms.lease_seconds / 5))
            replication.count_links(lambda: len(registry.connected_nodes()))
            made = LinkPeers(broker.bus, replication.directory, registry, terms=terms, clock=self._clock)
            peers = await stack.enter_async_context(made)
        links = NodeLinks(
            store,
            certificates.ca,
            store.feed,
            registry,
            clock=self._clock,
            terms=terms,
            policies=policies,
            nats_servers=lambda: broker.node_urls,
            peers=peers,
            urgency=self._urgency,
        )
        await links.start()
        return links

    def _joining(self, store: Store, certificates: Certificates, replication: Replication | None) -> Joining:
        def link_servers() -> tuple[str, ...]:
            return (self._nodes_server,) if replication is None else replication.directory.link_servers()

        return Joining(
            store,
            certificates.ca,
            clock=self._clock,
            certificate_lifetime=timedelta(hours=self._settings.node_certificate_hours),
            link_servers=link_servers,
        )


async def _logs(settings: Settings) -> LogStore:
    logs = LogStore(
        settings.state_dir / "logs",
        member_max_bytes=settings.job_log_max_bytes,
        total_max_bytes=settings.job_logs_total_max_bytes,
    )
    await logs.start()
    return logs
