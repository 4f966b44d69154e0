"""Follows the books and treats every node whose trouble has changed: the work grows with the changes, not the fleet.

Nodes about which nothing was open come first: in a storm each has its order before the end of another's repair is
followed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice

import structlog
from typing_extensions import override

from control_plane.agents.incidents.apply import Healer, Outcome
from control_plane.agents.incidents.recall import Recall
from control_plane.agents.incidents.views import NAME
from control_plane.agents.loop import Agent
from control_plane.fleet.incident_steps import HealingPolicy
from control_plane.governor.governor import Governor
from control_plane.memory.contract import MemoryStore
from control_plane.model.ids import NodeId
from control_plane.model.memory import Memory
from control_plane.model.record import Event, Noun
from control_plane.store import conditions, incidents, nodes, repairs
from control_plane.store.allocations import ASSIGNMENTS_CHANGED
from control_plane.store.database import Store, Tx
from control_plane.urgency import STORM, Urgency

log = structlog.get_logger()

_LOOK_SECONDS = 1.0
_NOUNS = (Noun.NODE, Noun.INCIDENT, Noun.ACTION)
_TOGETHER = 128
"""Nodes that are looked at, and treated, in one transaction: others wait so long for the one thread that writes."""
_TOLD_MAX = 8
_RETRIED_AT_ONCE = 16
"""Of the nodes that wait for others to be back, how many are looked at each time; all have their turn."""
_BATCHES_MAX = 64
"""In one round."""
_PATIENCE_SECONDS = 3.0
"""So long at most one after the other of the fresh come first; then it is the turn of those that are followed."""
_SAFETY_SECONDS = 60.0
"""How often a node about which something is open is looked at without any reason."""


class Incidents(Agent):
    """Opens, follows and closes incidents."""

    name = NAME

    def __init__(
        self,
        store: Store,
        governor: Governor,
        policy: HealingPolicy | None = None,
        *,
        memory: MemoryStore | None = None,
        urgency: Urgency | None = None,
    ) -> None:
        super().__init__(store, interval_seconds=_LOOK_SECONDS, urgency=urgency)
        self._healer = Healer(governor, policy or HealingPolicy(), recalls=memory is not None)
        self._recall = Recall(memory, store.clock)
        self._position: int | None = None
        self._fresh: dict[NodeId, None] = {}
        self._dirty: dict[NodeId, None] = {}
        self._followed_at = 0.0
        self._due: dict[NodeId, float] = {}
        self._blocked: dict[NodeId, None] = {}
        self._seen: dict[NodeId, int] = {}

    @override
    def concerns(self, event: Event) -> bool:
        return event.noun in _NOUNS

    async def round(self) -> str:
        """Treat every node about which something has changed or is due."""
        await self._notice()
        self._add_due()
        done: list[str] = []
        for _ in range(_BATCHES_MAX):
            batch = self._next()
            if not batch:
                break
            done += await self._treat_batch(batch)
            if self._fresh or self._dirty:
                await self._notice()  # what has gone wrong meanwhile comes first
        self.count("incident_steps", len(done))
        return _told(done)

    def _next(self) -> list[NodeId]:
        now = self._now()
        if not self._dirty:
            self._followed_at = now
        first = self._fresh if now - self._followed_at < _PATIENCE_SECONDS else self._dirty
        if not first:
            first = self._dirty if first is self._fresh else self._fresh
        if first is self._dirty:
            self._followed_at = now
        return list(islice(first, _TOGETHER))

    async def _treat_batch(self, batch: list[NodeId]) -> list[str]:
        """Do what is to be done about these nodes, and return it in words."""
        done: list[str] = []
        looked = await self._store.read(partial(self._healer.look_at, node_ids=batch))
        todo = []
        for node_id in batch:
            self._fresh.pop(node_id, None)
            self._dirty.pop(node_id, None)
            something, outcome, _ = looked[node_id]
            if something:
                todo.append(node_id)
            else:
                self._note(node_id, outcome)
        remembered = await self._recall.about({node_id: looked[node_id][2] for node_id in todo})
        for node_id, treated in zip(todo, await self._treat(todo, remembered), strict=True):
            if treated is not None:
                done.extend(treated.done)
                self._note(node_id, treated)
        return done

    async def _treat(
        self, node_ids: list[NodeId], remembered: Mapping[NodeId, tuple[Memory, ...]]
    ) -> Sequence[Outcome | None]:
        """All nodes in one write, which costs a tenth of one for each; if that fails, each in one of its own."""
        if not node_ids:
            return ()
        try:
            with self._urgency.urgent() if len(node_ids) >= STORM else nullcontext():
                return await self._store.write(
                    partial(self._healer.treat_together, node_ids=node_ids, remembered=remembered)
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, each node is treated alone then
            log.warning("incident.failed_together", nodes=len(node_ids), why=f"{type(error).__name__}: {error}")
        return await self._treat_apart(node_ids, remembered)

    async def _treat_apart(
        self, node_ids: list[NodeId], remembered: Mapping[NodeId, tuple[Memory, ...]]
    ) -> list[Outcome | None]:
        """Each node in a write of its own; those that wait at the same time share a commit."""
        results = await asyncio.gather(
            *(
                self._store.write(
                    partial(self._healer.treat, node_id=node_id, remembered=remembered.get(node_id)),
                )
                for node_id in node_ids
            ),
            return_exceptions=True,
        )
        outcomes: list[Outcome | None] = []
        for node_id, result in zip(node_ids, results, strict=True):
            if isinstance(result, BaseException):
                if not isinstance(result, Exception):
                    raise result
                # One node's trouble is not that of the others.
                log.error("incident.failed", node_id=node_id, why=f"{type(result).__name__}: {result}")
                self.count("incident_errors")
                self._due[node_id] = self._now() + _LOOK_SECONDS
                outcomes.append(None)
            else:
                outcomes.append(result)
        return outcomes

    def _note(self, node_id: NodeId, outcome: Outcome) -> None:
        self._blocked.pop(node_id, None)
        self._due.pop(node_id, None)
        if outcome.seen:
            self._seen[node_id] = outcome.seen
        if outcome.blocked:
            self._blocked[node_id] = None
        elif outcome.watched:
            seconds = _SAFETY_SECONDS if outcome.seconds is None else min(outcome.seconds, _SAFETY_SECONDS)
            self._due[node_id] = self._now() + seconds

    def _now(self) -> float:
        return self._store.clock.monotonic()

    def _add_due(self) -> None:
        now = self._now()
        for node_id in [node_id for node_id, at in self._due.items() if at <= now]:
            self._due[node_id] = now + _SAFETY_SECONDS
            self._dirty[node_id] = None
        for node_id in list(self._blocked)[:_RETRIED_AT_ONCE]:
            del self._blocked[node_id]
            self._blocked[node_id] = None  # to the end of the line
            self._dirty[node_id] = None

    async def _notice(self) -> None:
        """Take note of the nodes that the newest events are about."""
        if self._position is None:
            await self._load_all()
            return
        while True:
            page = await self._store.feed.since(self._position, nouns=_NOUNS)
            if not page.whole:  # what happened is not known any more: look at all
                await self._load_all()
                return
            for event in page.events:
                self._look(event)
            self._position = page.position
            if not page.more:
                return

    def _look(self, event: Event) -> None:
        if event.noun is Noun.INCIDENT and event.kind == incidents.ACKNOWLEDGED:
            self._dirty[NodeId(event.parent_id)] = None
        elif event.noun is Noun.NODE:
            node_id = NodeId(event.id)
            if event.sequence <= self._seen.get(node_id, 0):
                return  # it tells of what was done here
            self._seen.pop(node_id, None)
            open_here = node_id in self._due or node_id in self._blocked
            always = event.kind in (conditions.CHANGED, repairs.CHANGED, "node.draining")
            if event.kind == conditions.CHANGED and not open_here:
                self._fresh[node_id] = None
            elif always or (open_here and (event.kind == ASSIGNMENTS_CHANGED or event.kind.startswith("node."))):
                self._dirty[node_id] = None
        elif event.noun is Noun.ACTION:
            # An approval or the kill switch: rare, and what is open is known here.
            self._dirty.update(dict.fromkeys((*self._due, *self._blocked)) if _matters(event) else {})

    async def _load_all(self) -> None:
        await self._store.feed.catch_up()
        position = self._store.feed.newest
        now = self._now()
        for node_id in await self._store.read(_open):
            self._dirty[node_id] = None
            self._due[node_id] = now + _SAFETY_SECONDS
        self._position = position


def _told(done: list[str]) -> str:
    more = f" and {len(done) - _TOLD_MAX} more" if len(done) > _TOLD_MAX else ""
    return "; ".join(done[:_TOLD_MAX]) + more


def _matters(event: Event) -> bool:
    return event.kind in ("kill_switch.engaged", "kill_switch.released", "action.rejected", "action.expired")


def _open(tx: Tx) -> list[NodeId]:
    """Return the nodes about which something is open."""
    found = [*incidents.open_ids(tx), *conditions.troubled(tx), *nodes.held(tx)]
    return found + [one.node_id for one in repairs.in_progress(tx)]
