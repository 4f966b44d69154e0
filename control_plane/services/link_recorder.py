"""Takes a host's full state into the books: what it runs, what has ended, what it is made of."""

from dataclasses import dataclass
from functools import partial

import structlog

from control_plane.clock import Clock
from control_plane.errors import PermissionDenied, Unavailable
from control_plane.governor import health, hosts, repairs
from control_plane.model.ids import NodeId
from control_plane.model.job import AllocationState
from control_plane.model.node import HostInventory
from control_plane.model.repair import RepairReport
from control_plane.services.link_books import Settled, settle
from control_plane.services.link_claims import GpuClaims
from control_plane.services.link_greeting import Greeting, Rejected
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession
from control_plane.services.link_writer import LinkWriter, record_foreign_gpus
from control_plane.store import link_holders, nodes
from control_plane.store.database import Store, Tx

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _State:
    """A host's full state, with the GPUs that are its own and those that belong to others."""

    session: LinkSession
    greeting: Greeting
    own: HostInventory
    foreign: tuple[str, ...]
    foreign_is_news: bool
    audit_foreign: bool


class LinkRecorder:
    """Writes greetings. `replica`: the name of ours, if we are one."""

    def __init__(
        self,
        store: Store,
        registry: LinkRegistry,
        claims: GpuClaims,
        writer: LinkWriter,
        *,
        clock: Clock,
        replica: str = "",
    ) -> None:
        self._store = store
        self._registry = registry
        self._claims = claims
        self._writer = writer
        self._clock = clock
        self._replica = replica

    async def record(self, session: LinkSession, greeting: Greeting) -> list[Settled]:
        """Return what became of each of the host's reports.

        Raises Rejected if the stream ended before its turn came, PermissionDenied if the node was revoked, Unavailable.
        """
        own, foreign = self._claims.claim(session.node_id, greeting.inventory)
        state = _State(
            session,
            greeting,
            own,
            foreign,
            foreign_is_news=self._writer.is_news(session.node_id, foreign),
            audit_foreign=not self._writer.is_audited(session.node_id),
        )
        asked_at = self._clock.monotonic()
        try:
            results = await self._store.write(partial(self._write, state=state))
        except (Unavailable, PermissionDenied):
            raise
        except Exception:  # one job that cannot be read, say: its host has others, which would stop if it never linked
            log.exception("link.hello_failed_together", node_id=session.node_id, reports=len(greeting.reports))
            settled = await self._one_by_one(state)
            results = await self._store.write(partial(self._write, state=state, settled=settled))
        if results is None:
            raise Rejected("this stream has ended before it was taken up", retry_after_seconds=1.0)
        self._registry.note_reported((session.node_id,), asked_at)
        self._writer.note_foreign(session.node_id, foreign)
        session.inventory = own
        session.leftovers = {result.key for result in results if result.leftover}
        log.info(
            "link.up",
            node_id=session.node_id,
            gpus=len(own.gpus),
            members=len(greeting.reports),
            leftovers=len(session.leftovers),
            foreign_gpus=len(foreign),
        )
        return results

    def _write(self, tx: Tx, state: _State, settled: list[Settled] | None = None) -> list[Settled] | None:
        """Write the state; None if its stream has ended: what its host has left is dropped before it begins."""
        session, greeting = state.session, state.greeting
        node_id = session.node_id
        if session.outbox.closed:
            return None
        if not nodes.is_allowed(tx, node_id, session.principal.serial):
            raise PermissionDenied("this node was revoked meanwhile", reason="NODE_NOT_ALLOWED")
        results = settled
        if results is None:
            results = settle(tx, node_id, greeting.reports, audit_foreign=state.audit_foreign)
        hosts.node_connected(tx, node_id, state.own, zombies=sum(result.leftover for result in results))
        if state.foreign_is_news:
            record_foreign_gpus(tx, node_id, state.foreign)
        health.reconcile(tx, node_id, greeting.conditions)
        if settled is None:
            _follow_repair(tx, node_id, greeting.repair)
        else:
            try:
                with tx.savepoint():
                    _follow_repair(tx, node_id, greeting.repair)
            except Unavailable:
                raise
            except Exception:  # it is ordered nothing, then; its jobs go on
                log.exception("link.repair_not_followed", node_id=node_id)
        if self._replica:
            link_holders.take(tx, node_id, self._replica)
        session.control_epoch = self._store.epoch_of_orders(tx)
        return results

    async def _one_by_one(self, state: _State) -> list[Settled]:
        """Take each report by itself; a member whose report cannot be taken has to end."""
        reports = state.greeting.reports
        settled = await self._writer.settle_one_by_one(state.session.node_id, reports)
        done = {result.key for result in settled}
        return settled + [
            Settled((report.allocation_id, report.rank), ack=False, leftover=True)
            for report in reports
            if (report.allocation_id, report.rank) not in done and report.state is not AllocationState.ENDED
        ]


def _follow_repair(tx: Tx, node_id: NodeId, report: RepairReport | None) -> None:
    """Take note of how the host's repair stands, and that the host is back to go on with it."""
    if report is not None:
        repairs.apply_live_report(tx, node_id, report)
    repairs.note_reconnect(tx, node_id)
