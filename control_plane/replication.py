"""What a control plane needs beside others on one database: a name, the same keys, a lease, and word of the others."""

import asyncio
import hashlib
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from control_plane import leading
from control_plane.bus.bucket import Bucket
from control_plane.bus.client import Bus
from control_plane.credentials import Certificates
from control_plane.errors import PreconditionFailed
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy_following import PolicyFollower
from control_plane.identity.secrets import SecretBox
from control_plane.leading import Parts
from control_plane.loops import Loop
from control_plane.replicas.deltas import DeltaRelay
from control_plane.replicas.directory import Announcement, Directory
from control_plane.replicas.leadership import Leadership
from control_plane.replicas.lease import Holder, Lease, LeaseTerms
from control_plane.replicas.silence import FleetSilence
from control_plane.replicas.wakes import Wakes
from control_plane.services.link_verdicts import LinkVerdicts
from control_plane.settings import Settings
from control_plane.store import identity_marks
from control_plane.store.database import Store
from orquanta import __version__

log = structlog.get_logger()

_AGAIN_SECONDS: Final = 60.0
"""What was committed within this time is announced once more by who takes the lead."""

_MARK_LENGTH: Final = 16

_OWN_SETTINGS: Final = frozenset(
    {
        "admin_email", "admin_password", "admin_password_file", "advertise_names", "audit_checkpoint_file",
        "ca_certificate_file", "ca_key_file", "ca_key_passphrase", "database_url", "identity_folder", "insecure",
        "link_servers", "log_format", "log_level", "memory_embedder_key_file", "memory_weaviate_key_file",
        "metrics_address", "nats_address", "nats_ca_file", "nats_certificate_file", "nats_key_file", "nats_password",
        "nats_password_file", "nats_url", "nats_user", "nodes_address", "otlp_endpoint", "people_address",
        "policy_folder", "price_file", "replica_name", "server_certificate_days", "state_dir",
    }
)  # fmt: skip
"""Settings that differ between replicas for good reason; all others should be the same in each."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where people and daemons reach this replica, `host:port`."""

    server: str
    link_server: str


class Replication:
    """One replica among others. Make it when the broker is reached; `loops` run until the control plane stops."""

    def __init__(
        self, settings: Settings, store: Store, bus: Bus, bucket: Bucket, book: PolicyBook, addresses: Addresses
    ) -> None:
        self.name = _name(settings)
        self._settings = settings
        self._store = store
        self._bus = bus
        self._bucket = bucket
        self._instance = secrets.token_hex(8)
        self._started_at = store.clock.now().isoformat()
        self._settings_version = settings_version(settings)
        self._addresses = addresses
        self._links: Callable[[], int] = lambda: 0
        self._leadership: Leadership | None = None
        self.directory = Directory(self._about, clock=store.clock, link_servers=settings.link_servers)
        self.follower = PolicyFollower(store, book, settings.policies)

    def count_links(self, count: Callable[[], int]) -> None:
        """Have `count` tell how many hosts are linked to this replica."""
        self._links = count

    @property
    def leads(self) -> bool:
        """Whether this replica's agents work at this moment."""
        return self._leadership is not None and self._leadership.leads

    def _about(self) -> Announcement:
        return Announcement(
            name=self.name,
            instance=self._instance,
            server=self._addresses.server,
            link_server=self._addresses.link_server,
            links=self._links(),
            version=__version__,
            policy_version=self.follower.own_version,
            settings_version=self._settings_version,
            started_at=self._started_at,
        )

    async def check_identity(self, certificates: Certificates, secret: SecretBox) -> None:
        """See that this replica has the keys of the others. Raises PreconditionFailed, IDENTITY_DIFFERS."""
        marks = {
            "ca": _mark("ca", certificates.ca.root_der),
            "jwt.key": _mark("jwt", secret.jwt_key),
            "derivation.key": _mark("derivation", secret.derivation_key),
            "nats-issuer.seed": _mark("nats-issuer", secret.nats_issuer_public_key.encode()),
            "nats-control.key": _mark("nats-control", secret.nats_control_password.encode()),
            "audit.key": _mark("audit", secret.audit_seed),
        }
        held = await self._store.write(lambda tx: identity_marks.agree(tx, marks, by=self.name))
        differ = sorted(name for name in marks if held.get(name) != marks[name])
        if differ:
            raise PreconditionFailed(
                f"{', '.join(differ)} in {self._settings.identity} are not those that the other control planes of this "
                "database use; copy their folder identity, or name a shared one with --identity-folder",
                reason="IDENTITY_DIFFERS",
            )

    def loops(self, parts: Parts, *, verdict_seconds: float) -> list[Loop]:
        """Return what runs beside the links and the log ingest of this replica."""

        async def work(own: Store) -> None:
            silence = FleetSilence(own, self.directory)
            made = leading.deciders(parts, own)
            await leading.put_into_force(parts, made)
            loops: list[Loop] = [
                silence.run,
                LinkVerdicts(own, grace_seconds=verdict_seconds, clock=parts.clock).run,
                DeltaRelay(self._bus, parts.deltas).tell,
                *leading.leader_loops(parts, made, silence, again_seconds=_AGAIN_SECONDS),
            ]
            async with asyncio.TaskGroup() as tasks:
                for loop in loops:
                    tasks.create_task(_run(loop))

        terms = LeaseTerms()
        mine = Holder(self.name, self._instance, address=self._addresses.server)
        lease = Lease(self._bucket, mine, clock=parts.clock, terms=terms)
        leadership = Leadership(self._store, lease, work, terms=terms)
        self._leadership = leadership
        return [
            Wakes(self._store, self._bus).run,
            lambda: self.directory.run(self._bucket),
            self.follower.run,
            DeltaRelay(self._bus, parts.deltas).listen(lambda: leadership.leads),
            leadership.run,
        ]


async def _run(loop: Loop) -> None:
    await loop()


def settings_version(settings: Settings) -> str:
    """Return what tells the settings that all replicas must share from others."""
    shared = {name: value for name, value in settings.model_dump(mode="json").items() if name not in _OWN_SETTINGS}
    return hashlib.sha256(repr(sorted(shared.items())).encode()).hexdigest()[:8]


def _mark(what: str, secret: bytes) -> str:
    """Return what tells a random secret from others, and tells nothing else about it."""
    return hashlib.sha256(f"orquanta identity {what}\n".encode() + secret).hexdigest()[:_MARK_LENGTH]


def _name(settings: Settings) -> str:
    if settings.replica_name:
        return settings.replica_name
    path = settings.state_dir / "replica-name"
    try:
        kept = path.read_text().strip()
    except OSError:
        kept = ""
    if re.fullmatch("[A-Za-z0-9_-]{1,64}", kept):
        return kept
    host = re.sub("[^A-Za-z0-9_-]", "-", socket.gethostname())[:40]
    made = f"{host}-{secrets.token_hex(2)}"
    path.write_text(f"{made}\n")
    return made
