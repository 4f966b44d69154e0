"""Follows the books and treats every node whose trouble has changed: the work grows with the changes, not the fleet."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import structlog
from typing_extensions import override

from control_plane.agents.incidents.apply import Healer
from control_plane.agents.incidents.outcomes import Outcome
from control_plane.agents.incidents.recall import Recall
from control_plane.agents.incidents.turns import Turn, Turns
from control_plane.agents.incidents.views import NAME
from control_plane.agents.loop import Agent
from control_plane.errors import Unavailable
from control_plane.fleet.incident_steps import HealingPolicy
from control_plane.fleet.remembered import Fault
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
_TOLD_MAX = 8
_RETRIED_AT_ONCE = 16
"""Of the nodes that wait for others to be back, how many are looked at each time; all have their turn."""
_BATCHES_MAX = 64
"""In one round."""
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
        self._turns = Turns()
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
            if not self._turns:
                break
            done += await self._go_on()
            if self._turns:
                await self._notice()  # what has gone wrong meanwhile comes first
        self.count("incident_steps", len(done))
        return _told(done)

    async def _go_on(self) -> list[str]:
        """Do what comes next; return it in words."""
        turn, node_ids = self._turns.next(self._now(), more_to_come=self._urgency.more_to_come)
        match turn:
            case Turn.TAKE_OUT:
                await self._take_out(node_ids)
            case Turn.TREAT:
                remembered = self._turns.begin(node_ids)
                return await self._treat_and_note(node_ids, remembered)
            case Turn.LOOK:
                return await self._look_and_treat(node_ids)
            case Turn.WAIT:
                await self._urgency.all_come()
        return []

    async def _take_out(self, node_ids: list[NodeId]) -> None:
        """Have nodes that need repairs take no more jobs; they are treated when all have been, others are looked at."""
        faults: Mapping[NodeId, Fault | None] = {}
        try:
            faults = await self._store.write(partial(self._healer.take_out, node_ids=node_ids))
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, each node is treated alone then
            log.warning("incident.not_taken_out", nodes=len(node_ids), why=f"{type(error).__name__}: {error}")
        wanted = {node_id: fault for node_id, fault in faults.items() if fault is not None}
        with self._urgency.urgent() if len(wanted) >= STORM else nullcontext():
            remembered = await self._recall.about(wanted)
        for node_id in wanted:
            self._turns.taken_out(node_id, remembered.get(node_id, ()), self._now())
        others = [node_id for node_id in node_ids if node_id not in wanted]
        self._turns.begin(others)
        self._turns.follow(others)

    async def _look_and_treat(self, node_ids: list[NodeId]) -> list[str]:
        """Do what is to be done about nodes of which it is not known yet whether there is anything."""
        looked = await self._store.read(partial(self._healer.look_at, node_ids=node_ids))
        self._turns.begin(node_ids)
        todo = []
        for node_id in node_ids:
            something, outcome, _ = looked[node_id]
            if something:
                todo.append(node_id)
            else:
                self._note(node_id, outcome)
        return await self._treat_and_note(todo, await self._recall.about({one: looked[one][2] for one in todo}))

    async def _treat_and_note(
        self, node_ids: list[NodeId], remembered: Mapping[NodeId, tuple[Memory, ...]]
    ) -> list[str]:
        done: list[str] = []
        for node_id, treated in zip(node_ids, await self._treat(node_ids, remembered), strict=True):
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
            self._turns.follow([node_id])
        for node_id in list(self._blocked)[:_RETRIED_AT_ONCE]:
            del self._blocked[node_id]
            self._blocked[node_id] = None  # to the end of the line
            self._turns.follow([node_id])

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
            self._turns.follow([NodeId(event.parent_id)])
        elif event.noun is Noun.NODE:
            node_id = NodeId(event.id)
            if event.sequence <= self._seen.get(node_id, 0):
                return  # it tells of what was done here
            self._seen.pop(node_id, None)
            open_here = node_id in self._due or node_id in self._blocked
            always = event.kind in (conditions.CHANGED, repairs.CHANGED, "node.draining")
            if self._turns.is_out(node_id):
                return
            if event.kind == conditions.CHANGED and not open_here:
                self._turns.failed(node_id)
            elif always or (open_here and (event.kind == ASSIGNMENTS_CHANGED or event.kind.startswith("node."))):
                self._turns.follow([node_id])
        elif event.noun is Noun.ACTION:
            # An approval or the kill switch: rare, and what is open is known here.
            self._turns.follow((*self._due, *self._blocked) if _matters(event) else ())

    async def _load_all(self) -> None:
        await self._store.feed.catch_up()
        position = self._store.feed.newest
        now = self._now()
        for node_id in await self._store.read(_open):
            self._turns.follow([node_id])
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
