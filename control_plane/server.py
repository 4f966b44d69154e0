"""The composition root: makes every part, hands each what it needs, and closes them in reverse order."""

import asyncio
import fcntl
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import structlog
from grpc import aio
from orquanta.v1 import node_link_pb2_grpc

from control_plane.agents.announcer import Announcer
from control_plane.agents.healing import Healing, Leases
from control_plane.agents.housekeeping import Housekeeping
from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.agents.scheduler import Scheduler
from control_plane.broker import Broker, open_broker
from control_plane.clock import SystemClock
from control_plane.credentials import Certificates
from control_plane.errors import PreconditionFailed
from control_plane.first_start import FirstAdmin, ensure_admin
from control_plane.governor.defaults import JobDefaults
from control_plane.governor.governor import Governor
from control_plane.governor.rules import Limits
from control_plane.identity.credentials import Credentials
from control_plane.identity.files import private_directory
from control_plane.identity.passwords import Passwords
from control_plane.identity.secrets import SecretBox
from control_plane.identity.tokens import AccessTokens
from control_plane.ports import certificate_names, free_port, reachable
from control_plane.price_file import load_prices
from control_plane.services.access import Port
from control_plane.services.composition import (
    CONCURRENT_CALLS_MAX,
    SERVER_OPTIONS,
    PeopleServices,
    ServiceDependencies,
    add_health_and_reflection,
)
from control_plane.services.feed import EventFeed
from control_plane.services.interceptors import Gate
from control_plane.services.link_join import Joining
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_server import NodeLinks
from control_plane.services.link_terms import LinkTerms
from control_plane.services.node_link import NodeLink
from control_plane.services.nodes import JoinDetails
from control_plane.settings import Settings, split_address
from control_plane.store.database import Store
from control_plane.telemetry.ingest import TelemetryIngest
from control_plane.telemetry.log_ingest import LogIngest
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows

log = structlog.get_logger()

_GRACE_SECONDS = 3.0
_RENEWAL_CHECK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Serving:
    """What a person needs to know once the control plane serves."""

    people_server: str
    nodes_server: str
    ca_certificate_file: Path
    first_admin: FirstAdmin | None


class ControlPlane:
    """One control plane in this process. `run` serves until `stop` is set."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._people_port = free_port("people_address", settings.people_address)
        self._nodes_port = free_port("nodes_address", settings.nodes_address)

    async def run(self, stop: asyncio.Event, when_serving: Callable[[Serving], None]) -> None:
        """Start everything, serve until `stop` is set, and stop everything.

        Raises OrQuantaError, saying what to do, when something cannot be started; then nothing is left running.
        """
        settings = self._settings
        async with AsyncExitStack() as stack:
            _claim(stack, settings.state_dir)
            certificates = Certificates(
                settings,
                certificate_names((settings.people_address, settings.nodes_address), settings.advertise_names),
                clock=self._clock,
            )
            secrets = SecretBox.load_or_create(settings.state_dir / "identity")
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
            governor = Governor(
                store,
                limits=Limits(settings.approval_above_usd, settings.max_gpus_per_user),
                defaults=defaults,
                prices=prices,
            )
            orchestrator = Orchestrator(store, governor, defaults=defaults, clock=self._clock)
            await orchestrator.start()
            logs = LogStore(
                settings.state_dir / "logs",
                member_max_bytes=settings.job_log_max_bytes,
                total_max_bytes=settings.job_logs_total_max_bytes,
            )
            await logs.start()
            windows = TelemetryWindows(clock=self._clock)
            await stack.enter_async_context(TelemetryIngest(broker.bus, windows))
            links = self._links(store, certificates, broker)
            await links.start()
            people = PeopleServices(
                ServiceDependencies(
                    store=store,
                    governor=governor,
                    planner=orchestrator,
                    prices=prices,
                    logs=logs,
                    telemetry=windows,
                    passwords=passwords,
                    access_tokens=AccessTokens(secrets.jwt_key, clock=self._clock),
                    credentials=Credentials(secrets.derivation_key),
                    join=JoinDetails(self._people_server, certificates.ca.root_der),
                    clock=self._clock,
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
            loops: list[Callable[[], Awaitable[None]]] = [
                links.run,
                LogIngest(broker.bus, logs, store, clock=self._clock).run,
                Announcer(store, broker.bus).run,
                Scheduler(store, governor, max_gpus_per_user=settings.max_gpus_per_user).run,
                healing.run,
                Housekeeping(store, governor).run,
                lambda: _renew_certificates(certificates, broker),
            ]
            await _run_loops(stack, loops, stop)
            await self._serve(stack, people, node_link, certificates)
            stack.push_async_callback(links.close)
            serving = Serving(self._people_server, self._nodes_server, certificates.trust_file, first_admin)
            _announce(stack, settings.state_dir, serving)
            when_serving(serving)
            await stop.wait()
            log.info("control_plane.stopping")

    @property
    def _people_server(self) -> str:
        return reachable(self._settings.people_address, self._people_port, self._settings.advertise_names)

    @property
    def _nodes_server(self) -> str:
        return reachable(self._settings.nodes_address, self._nodes_port, self._settings.advertise_names)

    def _links(self, store: Store, certificates: Certificates, broker: Broker) -> NodeLinks:
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

    async def _serve(
        self, stack: AsyncExitStack, people: PeopleServices, node_link: NodeLink, certificates: Certificates
    ) -> None:
        """Open both ports."""
        people_server = aio.server(
            interceptors=[people.gate], options=SERVER_OPTIONS, maximum_concurrent_rpcs=CONCURRENT_CALLS_MAX
        )
        names = people.add_to(people_server)
        node_link_pb2_grpc.add_NodeLinkServiceServicer_to_server(node_link, people_server)
        credentials = None if self._settings.insecure else certificates.people_credentials()
        await _start(stack, people_server, names, self._settings.people_address, self._people_port, credentials)

        gate = Gate(port=Port.NODES, authenticator=None, clock=self._clock)
        nodes_server = aio.server(
            interceptors=[gate], options=SERVER_OPTIONS, maximum_concurrent_rpcs=CONCURRENT_CALLS_MAX
        )
        node_link_pb2_grpc.add_NodeLinkServiceServicer_to_server(node_link, nodes_server)
        await _start(
            stack,
            nodes_server,
            ["orquanta.v1.NodeLinkService"],
            self._settings.nodes_address,
            self._nodes_port,
            certificates.nodes_credentials(),
        )


async def _start(
    stack: AsyncExitStack,
    server: aio.Server,
    names: list[str],
    address: str,
    port: int,
    credentials: grpc.ServerCredentials | None,
) -> None:
    health = await add_health_and_reflection(server, names)
    host, _ = split_address(address)
    target = f"{host}:{port}"
    try:
        if credentials is None:
            log.warning("server.plaintext", address=target, why="insecure is set: passwords cross the network in clear")
            server.add_insecure_port(target)
        else:
            server.add_secure_port(target, credentials)
    except RuntimeError as error:
        raise PreconditionFailed(
            f"{target} was taken while the control plane started; stop what listens there and start again",
            reason="PORT_TAKEN",
        ) from error
    await server.start()
    stack.push_async_callback(server.stop, _GRACE_SECONDS)
    stack.push_async_callback(health.enter_graceful_shutdown)


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


def _claim(stack: AsyncExitStack, state_dir: Path) -> None:
    """Take the state directory for this process alone."""
    private_directory(state_dir)
    descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        raise PreconditionFailed(
            f"another control plane (process {owner or 'unknown'}) uses {state_dir}; stop it, or choose another "
            "directory with --state-dir",
            reason="STATE_DIR_IN_USE",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def _announce(stack: AsyncExitStack, state_dir: Path, serving: Serving) -> None:
    """Write `ready.json`, which tells other programs on this machine where to connect, while it is true."""
    path = state_dir / "ready.json"
    scratch = state_dir / "ready.json.new"
    document = {
        "server": serving.people_server,
        "link_server": serving.nodes_server,
        "ca_certificate": str(serving.ca_certificate_file),
        "pid": os.getpid(),
    }
    scratch.write_text(json.dumps(document))
    scratch.replace(path)
    stack.callback(path.unlink, missing_ok=True)
