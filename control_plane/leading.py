"""The work that one control plane does at a time: its agents, and what they decide with."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from control_plane import healing_terms, mcp_terms, queue_terms, run_terms
from control_plane.agents.announcer import Announcer
from control_plane.agents.auditor import Auditor, AuditTerms
from control_plane.agents.healing import Healing, Leases, Links
from control_plane.agents.housekeeping import Housekeeping
from control_plane.agents.incidents.agent import Incidents
from control_plane.agents.memory_keeper import MemoryKeeper
from control_plane.agents.notice_texts import WebhookKind
from control_plane.agents.notifier import Notifier, Webhook
from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.agents.orchestrator.runs.assemble import run_loop
from control_plane.agents.policies import Policies
from control_plane.agents.run_announcer import RunAnnouncer
from control_plane.agents.tracer import TraceFollower
from control_plane.bus.client import Bus
from control_plane.bus.deltas import Deltas
from control_plane.clock import Clock
from control_plane.errors import PreconditionFailed
from control_plane.fleet.prices import PriceTable
from control_plane.governor.defaults import JobDefaults
from control_plane.governor.governor import Governor
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy_loading import PolicyLoader
from control_plane.loops import Loop
from control_plane.memory.contract import MemoryStore
from control_plane.reasoning.contract import Reasoner
from control_plane.settings import Settings
from control_plane.store.database import Store
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.imported.server import ForeignTools
from control_plane.tools.toolbox import Toolbox
from control_plane.tracing.outbox import Outbox
from control_plane.urgency import Urgency
from orquanta.ledger.signatures import Signer

_ANSWER_SECONDS: Final = 2.0  # who asks waits this long for what rules answer


@dataclass(frozen=True, slots=True)
class Parts:
    """What does not depend on who leads."""

    settings: Settings
    clock: Clock
    bus: Bus
    book: PolicyBook
    prices: PriceTable
    reasoner: Reasoner
    logs: LogStore
    windows: TelemetryWindows
    memory: MemoryStore | None
    deltas: Deltas
    foreign: ForeignTools | None
    audit_signer: Signer
    urgency: Urgency
    spans: Outbox | None = None


@dataclass(frozen=True, slots=True)
class Deciders:
    """Those who decide, on one handle of the store: what they write counts as that handle's."""

    store: Store
    governor: Governor
    orchestrator: Orchestrator
    toolbox: Toolbox
    policy_loader: PolicyLoader


def deciders(parts: Parts, store: Store) -> Deciders:
    """Make those who decide."""
    settings = parts.settings
    defaults = JobDefaults(
        max_runtime_seconds=settings.default_max_runtime_seconds,
        stop_grace_seconds=settings.default_stop_grace_seconds,
        max_attempts=settings.default_max_attempts,
    )
    governor = Governor(
        store, limits=healing_terms.limits(settings), defaults=defaults, prices=parts.prices, policies=parts.book
    )
    orchestrator = Orchestrator(
        store,
        governor,
        defaults=defaults,
        clock=parts.clock,
        reasoner=parts.reasoner,
        run_limits=run_terms.run_policy(settings).limits,
        answer_seconds=_ANSWER_SECONDS,
    )
    toolbox = Toolbox(
        store,
        governor,
        logs=parts.logs,
        telemetry=parts.windows,
        memory=parts.memory,
        prices=parts.prices,
        clock=parts.clock,
        foreign=parts.foreign,
        reasoner=parts.reasoner,
    )
    return Deciders(store, governor, orchestrator, toolbox, PolicyLoader(store, parts.book, settings.policies))


async def put_into_force(parts: Parts, made: Deciders) -> None:
    """Have the settings' bounds and the folder's policies hold. Raises Unavailable, or InvalidArgument for policies."""
    await made.policy_loader.start()
    bounds = healing_terms.bounds(parts.settings)
    await made.store.write(lambda tx: healing_terms.put_into_force(tx, bounds))
    await made.orchestrator.start()


def leader_loops(parts: Parts, made: Deciders, silence: Links, *, again_seconds: float = 0.0) -> list[Loop]:
    """Return the loops of the agents. `again_seconds`: what may have been left unannounced by whoever led before."""
    settings, store, governor, toolbox = parts.settings, made.store, made.governor, made.toolbox
    urgency = parts.urgency
    leases = Leases(settings.lease_seconds, settings.fence_seconds, settings.fence_margin_seconds)
    traced = parts.spans is not None
    return [
        Announcer(store, parts.bus, again_seconds=again_seconds, traced=traced, urgency=urgency).run,
        RunAnnouncer(store, parts.bus, again_seconds=again_seconds).run,
        run_loop(
            store,
            made.orchestrator,
            toolbox,
            reasoner=parts.reasoner,
            policy=run_terms.run_policy(settings),
            deltas=parts.deltas,
            diagnose=run_terms.diagnoser(toolbox.diagnoses),
        ).run,
        Auditor(store, parts.bus, parts.audit_signer, _audit_terms(settings)).run,
        queue_terms.scheduler(settings, store, governor, urgency).run,
        Healing(store, governor, silence, leases, clock=parts.clock).run,
        Incidents(store, governor, healing_terms.healing_policy(settings), memory=parts.memory, urgency=urgency).run,
        *run_terms.analysts(store, parts.windows, toolbox.asker),
        *_memory_keepers(store, parts),
        Housekeeping(store, governor).run,
        Policies(store, made.policy_loader).run,
        *_notifiers(store, settings),
        *([] if parts.spans is None else [TraceFollower(store, parts.spans).run]),
    ]


def imported(settings: Settings) -> ForeignTools | None:
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


def _audit_terms(settings: Settings) -> AuditTerms:
    folder = settings.state_dir / "audit"
    return AuditTerms(folder, settings.audit_checkpoint_file or folder / "checkpoints.jsonl", settings.audit_keep_days)


def _notifiers(store: Store, settings: Settings) -> list[Loop]:
    """Nobody is told of anything unless the settings name a webhook."""
    kind = WebhookKind(settings.approval_webhook_kind)
    webhooks = [Webhook(url.get_secret_value(), kind) for url in settings.approval_webhook_urls]
    return [Notifier(store, webhooks).run] if webhooks else []


def _memory_keepers(store: Store, parts: Parts) -> list[Loop]:
    if parts.memory is None:
        return []
    lifetime = timedelta(days=parts.settings.memory_days)
    return [MemoryKeeper(store, parts.memory, parts.logs, lifetime=lifetime).run]
