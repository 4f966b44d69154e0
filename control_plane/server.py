"""The composition root: makes every part, hands each what it needs, and closes them in reverse order."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from control_plane import healing_terms, mcp_terms, memory_terms, model_terms, run_terms
from control_plane.agents.announcer import Announcer
from control_plane.agents.auditor import Auditor, AuditTerms
from control_plane.agents.healing import Healing, Leases
from control_plane.agents.housekeeping import Housekeeping
from control_plane.agents.incidents.agent import Incidents
from control_plane.agents.memory_keeper import MemoryKeeper
from control_plane.agents.notice_texts import WebhookKind
from control_plane.agents.notifier import Notifier, Webhook
from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.agents.orchestrator.runs.assemble import run_loop
from control_plane.agents.policies import Policies
from control_plane.agents.revocation import Revocation
from control_plane.agents.run_announcer import RunAnnouncer
from control_plane.agents.scheduler import Scheduler
from control_plane.broker import Broker, open_broker
from control_plane.bus.deltas import Deltas
from control_plane.clock import SystemClock
from control_plane.credentials import Certificates
from control_plane.errors import PreconditionFailed
from control_plane.first_start import FirstAdmin, ensure_admin
from control_plane.governor.defaults import JobDefaults
from control_plane.governor.governor import Governor
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy_loading import PolicyLoader
from control_plane.identity.credentials import Credentials
from control_plane.identity.passwords import Passwords
from control_plane.identity.secrets import SecretBox
from control_plane.identity.tokens import AccessTokens
from control_plane.listeners import Listeners
from control_plane.memory.contract import MemoryStore
from control_plane.model.ids import NodeId
from control_plane.ports import certificate_names, free_port, reachable
from control_plane.price_file import load_prices
from control_plane.reasoning.assemble import assemble
from control_plane.services.composition import (
    PeopleServices,
    ServiceDependencies,
)
from control_plane.services.feed import EventFeed
from control_plane.services.link_join import Joining
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
from control_plane.tools.imported.server import ForeignTools
from control_plane.tools.toolbox import Toolbox
from orquanta.ledger.signatures import Signer

log = structlog.get_logger()

_GRACE_SECONDS = 3.0
_ANSWER_SECONDS = 2.0  # who asks waits this long for what rules answer
_RENEWAL_CHECK_SECONDS = 3600.0


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
        self._run_policy = run_terms.run_policy(settings)
        self._deltas = Deltas()
        self._people_port = free_port("people_address", settings.people_address)
        self._nodes_port = free_port("nodes_address", settings.nodes_address)

    async def run(self, stop: asyncio.Event, when_serving: Callable[[Serving], None]) -> None:
        """Start everything, serve until `stop` is set, and stop everything.

        Raises OrQuantaError, saying what to do, when something cannot be started; then nothing is left running.
        """
        settings = self._settings
        async with AsyncExitStack() as stack:
            claim(stack, settings.state_dir)
            certificates = Certificates(
                settings,
                certificate_names((settings.people_address, settings.nodes_address), settings.advertise_names),
                clock=self._clock,
            )
            secrets = SecretBox.load_or_create(settings.state_dir / "identity")
            audit_signer = Signer(secrets.audit_seed)
            prices = load_prices(settings.price_file)
            store = await Store.open(settings.database, clock=self._clock)
            stack.push_async_callback(store.close)
            passwords = Passwords()
            first_admin = await ensure_admin(
                store,
                passwords,
                email=settings.admin_email,
                password=settings.password("admin_password"),
                clock=self._clock,
            )
            broker = await open_broker(stack, settings, certificates, secrets, store, clock=self._clock)
            defaults = JobDefaults(
                max_runtime_seconds=settings.default_max_runtime_seconds,
                stop_grace_seconds=settings.default_stop_grace_seconds,
                max_attempts=settings.default_max_attempts,
            )
            book = PolicyBook()
            policy_loader = PolicyLoader(store, book, settings.policies)
            await policy_loader.start()
            governor = Governor(
                store, limits=healing_terms.limits(settings), defaults=defaults, prices=prices, policies=book
            )
            reasoner = assemble(
                model_terms.endpoints(settings),
                store,
                clock=self._clock,
                cost_per_day_usd=settings.model_cost_per_day_usd,
            )
            stack.push_async_callback(reasoner.close)
            await reasoner.start()
            orchestrator = Orchestrator(
                store,
                governor,
                defaults=defaults,
                clock=self._clock,
                reasoner=reasoner,
                run_limits=self._run_policy.limits,
                answer_seconds=_ANSWER_SECONDS,
            )
            await orchestrator.start()
            logs = await _logs(settings)
            memory = memory_terms.opened(stack, settings, clock=self._clock)
            windows = TelemetryWindows(clock=self._clock)
            await stack.enter_async_context(TelemetryIngest(broker.bus, windows))
            bounds = healing_terms.bounds(settings)
            await store.write(lambda tx: healing_terms.put_into_force(tx, bounds))
            policies = LocalPolicies(
                store,
                healing_terms.local_terms(settings),
                sign=certificates.ca.sign_statement,
                clock=self._clock,
            )
            await policies.start()
            links = self._links(store, certificates, broker, policies)
            await links.start()
            toolbox = Toolbox(
                store,
                governor,
                logs=logs,
                telemetry=windows,
                memory=memory,
                prices=prices,
                clock=self._clock,
                foreign=_imported(settings),
                reasoner=reasoner,
            )
            people = PeopleServices(
                ServiceDependencies(
                    store=store,
                    governor=governor,
                    planner=orchestrator,
                    prices=prices,
                    logs=logs,
                    telemetry=windows,
                    toolbox=toolbox,
                    passwords=passwords,
                    access_tokens=AccessTokens(secrets.jwt_key, clock=self._clock),
                    credentials=Credentials(secrets.derivation_key),
                    join=JoinDetails(self._people_server, certificates.ca.root_der),
                    clock=self._clock,
                    audit_signer=audit_signer,
                    deltas=self._deltas,
                    reasoning=reasoner,
                    memory=memory,
                    access_log=settings.log_level == "debug",
                )
            )
            node_link = NodeLink(joining=self._joining(store, certificates), links=links)
            healing = Healing(
                store,
                governor,
                links.registry,
                Leases(settings.lease_seconds, settings.fence_seconds, settings.fence_margin_seconds),
                clock=self._clock,
            )

            async def cut(node_id: NodeId) -> None:
                windows.forget(node_id)
                await broker.callout.disconnect(node_id)

            loops: list[Callable[[], Awaitable[None]]] = [
                links.run,
                toolbox.run,
                LogIngest(broker.bus, logs, store, clock=self._clock).run,
                Announcer(store, broker.bus).run,
                RunAnnouncer(store, broker.bus).run,
                run_loop(
                    store,
                    orchestrator,
                    toolbox,
                    reasoner=reasoner,
                    policy=self._run_policy,
                    deltas=self._deltas,
                    diagnose=run_terms.diagnoser(toolbox.diagnoses),
                ).run,
                Auditor(store, broker.bus, audit_signer, self._audit_terms()).run,
                Scheduler(store, governor, max_gpus_per_user=settings.max_gpus_per_user).run,
                healing.run,
                Incidents(store, governor, healing_terms.healing_policy(settings), memory=memory).run,
                *run_terms.analysts(store, windows, toolbox.asker),
                *_memory_keepers(store, memory, logs, settings),
                Housekeeping(store, governor).run,
                Policies(store, policy_loader).run,
                Revocation(store, cut).run,
                *_notifiers(store, settings),
                lambda: _renew_certificates(certificates, broker),
            ]
            await _run_loops(stack, loops, stop)
            listeners = Listeners(settings, certificates, people_port=self._people_port, nodes_port=self._nodes_port)
            await listeners.open(stack, people, node_link, clock=self._clock)
            stack.push_async_callback(links.close)
            serving = Serving(
                self._people_server,
                self._nodes_server,
                certificates.trust_file,
                first_admin,
                secrets.nats_issuer_public_key if settings.nats_url else None,
            )
            announce(
                stack,
                settings.state_dir,
                server=self._people_server,
                link_server=self._nodes_server,
                ca_certificate=certificates.trust_file,
            )
            when_serving(serving)
            await stop.wait()
            log.info("control_plane.stopping")

    @property
    def _people_server(self) -> str:
        return reachable(self._settings.people_address, self._people_port, self._settings.advertise_names)

    @property
    def _nodes_server(self) -> str:
        return reachable(self._settings.nodes_address, self._nodes_port, self._settings.advertise_names)

    def _audit_terms(self) -> AuditTerms:
        folder = self._settings.state_dir / "audit"
        return AuditTerms(
            folder,
            self._settings.audit_checkpoint_file or folder / "checkpoints.jsonl",
            self._settings.audit_keep_days,
        )

    def _links(self, store: Store, certificates: Certificates, broker: Broker, policies: LocalPolicies) -> NodeLinks:
        terms = LinkTerms(
            heartbeat_seconds=self._settings.heartbeat_seconds,
            lease_seconds=self._settings.lease_seconds,
            fence_seconds=self._settings.fence_seconds,
            certificate_lifetime=timedelta(hours=self._settings.node_certificate_hours),
        )
        return NodeLinks(
            store,
            certificates.ca,
            EventFeed(store),
            LinkRegistry(clock=self._clock),
            clock=self._clock,
            terms=terms,
            policies=policies,
            nats_servers=lambda: broker.node_urls,
        )

    def _joining(self, store: Store, certificates: Certificates) -> Joining:
        return Joining(
            store,
            certificates.ca,
            clock=self._clock,
            certificate_lifetime=timedelta(hours=self._settings.node_certificate_hours),
            link_servers=lambda: (self._nodes_server,),
        )


def _notifiers(store: Store, settings: Settings) -> list[Callable[[], Awaitable[None]]]:
    """Nobody is told of anything unless the settings name a webhook."""
    kind = WebhookKind(settings.approval_webhook_kind)
    webhooks = [Webhook(url.get_secret_value(), kind) for url in settings.approval_webhook_urls]
    return [Notifier(store, webhooks).run] if webhooks else []


async def _logs(settings: Settings) -> LogStore:
    logs = LogStore(
        settings.state_dir / "logs",
        member_max_bytes=settings.job_log_max_bytes,
        total_max_bytes=settings.job_logs_total_max_bytes,
    )
    await logs.start()
    return logs


def _memory_keepers(
    store: Store, memory: MemoryStore | None, logs: LogStore, settings: Settings
) -> list[Callable[[], Awaitable[None]]]:
    if memory is None:
        return []
    return [MemoryKeeper(store, memory, logs, lifetime=timedelta(days=settings.memory_days)).run]


def _imported(settings: Settings) -> ForeignTools | None:
    """Return the tools of other servers. Raises PreconditionFailed when the library for them is not installed."""
    if not settings.mcp_servers:
        return None
    try:
        from control_plane.tools.imported.registry import ImportedTools  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError as error:
        raise PreconditionFailed(
            f"mcp_servers needs {error.name}; run: pip install 'orquanta[mcp]'", reason="NOT_INSTALLED"
        ) from error
    return ImportedTools(mcp_terms.servers(settings), mcp_terms.pins(settings))


async def _run_loops(stack: AsyncExitStack, loops: list[Callable[[], Awaitable[None]]], stop: asyncio.Event) -> None:
    """Run the loops until the stack closes. One that ends by an error stops the control plane: it cannot be trusted."""

    async def guarded(loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except Exception:
            log.exception("loop.failed")
            stop.set()
            raise

    tasks = [asyncio.ensure_future(guarded(loop)) for loop in loops]

    async def end() -> None:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [result for result in results if isinstance(result, Exception)]
        if failed:
            raise failed[0]

    stack.push_async_callback(end)


async def _renew_certificates(certificates: Certificates, broker: Broker) -> None:
    while True:
        await asyncio.sleep(_RENEWAL_CHECK_SECONDS)
        if certificates.renew():
            log.info("certificates.renewed")
            if broker.embedded is not None:
                broker.embedded.reload()
