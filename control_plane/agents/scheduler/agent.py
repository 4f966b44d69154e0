"""The scheduler's loop: keeps fleet and queue in memory, decides, proposes, and tells jobs what they wait for."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog
from typing_extensions import override

from control_plane.agents.loop import Agent
from control_plane.agents.scheduler.demand import Demand
from control_plane.agents.scheduler.explaining import Explainer
from control_plane.agents.scheduler.refusals import Refusals
from control_plane.errors import OrQuantaError, Unavailable
from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.queueing.model import Preemption, QueueTerms, Standing
from control_plane.governor.governor import Governor
from control_plane.model.action import ActionState, Effect, PlaceJob, PreemptJob, Proposal
from control_plane.model.ids import ACTION, JobId, derived_id
from control_plane.model.record import Event, Noun
from control_plane.scheduling.gathering import gathered
from control_plane.scheduling.reading import Changes, Everything, Terms, changes, concerns, everything, newer
from control_plane.scheduling.world import World, differences
from control_plane.store import actions, demand_history
from control_plane.store.database import Store, Tx
from control_plane.store.feed import Page
from control_plane.store.pages import batched
from control_plane.urgency import Urgency

log = structlog.get_logger()

NAME: Final = "scheduler_agent"
CHECK_SECONDS: Final = 300.0
"""How often memory is compared with the store."""

_DEFAULT: Final = QueueTerms()
_AGAIN_SECONDS: Final = 5.0  # time alone changes who goes first: ages, kept room, protected attempts
_GATHERED_SECONDS: Final = 60.0  # between two gatherings: what was moved must find its place first
_SPARED: Final = timedelta(minutes=10)
_SHOWN: Final = 20  # differences in a log line


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a proposal."""

    done: bool
    outcome: str


class Scheduler(Agent):
    """Event-driven: every change of hosts, of jobs and of who may hold how much is a reason to look at the queue."""

    name = NAME
    patient = True

    def __init__(
        self,
        store: Store,
        governor: Governor,
        *,
        max_gpus_per_user: int,
        terms: QueueTerms = _DEFAULT,
        packing: PackingPolicy = PackingPolicy.NODE_VALUE,
        urgency: Urgency | None = None,
    ) -> None:
        super().__init__(store, urgency=urgency)
        self._governor = governor
        self._terms = terms
        self._packing = packing
        self._reading = Terms(max_gpus_per_user, terms.min_runtime_seconds)
        self._world: World | None = None
        self._epoch = store.control_epoch
        self._demand: Demand | None = None
        self._refusals = Refusals()
        self._preemption = Refusals()  # by the job that others were to make way for
        self._explainer = Explainer(store)
        self._check_at = 0.0
        self._decide_at = 0.0
        self._gather_at = 0.0

    @override
    def concerns(self, event: Event) -> bool:
        if event.noun is Noun.NODE and self._world is not None and not self._world.queue.jobs():
            return False  # while nothing waits, what hosts do is taken together, at the interval's end
        return event.noun is Noun.ACTION or concerns(event)

    async def round(self) -> str:
        """Place what fits, and have others make way where that helps."""
        now = self._store.clock.monotonic()
        world, changed = await self._current(now)
        if world is None:
            return ""
        waiting = len(world.queue.jobs())
        self._refusals.keep(world.queue.jobs())
        self._preemption.keep(world.queue.jobs())
        if not waiting or not (changed or now >= self._decide_at or self._refusals.due(now)):
            head = await self._explainer.explain(world, self._refusals.reasons(now), changed=False)
            return _told(0, await self._gather(world, head, now), waiting)
        self._decide_at = now  # a round that fails is gone round again
        held_back = self._refusals.held_back(now)
        world.queue.terms = self._queue_terms(now)
        decision = await asyncio.to_thread(world.decide, self._store.clock.now(), held_back)
        self._refusals.reconsider(now)
        placed = await self._place(decision.placements)
        making_way = await self._preempt(world, decision.preemptions)
        again_at = now + _AGAIN_SECONDS
        if decision.placements or decision.preemptions:
            # What was done is in the store; what others did meanwhile is decided upon in the next round.
            now_there, again = await self._current(now)
            world = now_there or world
            refused = placed < len(decision.placements)
            again_at = now if again or refused else again_at
        head = await self._explainer.explain(world, self._refusals.reasons(now), changed=True)
        self._decide_at = again_at
        making_way += await self._gather(world, head, now)
        return _told(placed, making_way, waiting)

    # Memory.

    async def _current(self, now: float) -> tuple[World | None, bool]:
        """Return the world as it is now, and whether that decides otherwise than before; None while all is stopped."""
        world = self._world
        if world is not None and self._epoch != self._store.control_epoch:
            world = None
        checks = world is not None and now >= self._check_at
        known = None
        if world is not None:
            known = await newer(self._store.feed, world.sequence)
        try:
            stopped, patch, whole, saved = await self._store.read(lambda tx: self._read(tx, world, known, whole=checks))
        except Unavailable:
            raise
        except Exception:
            self._world = None  # the same events would fail again: the next round reads everything
            raise
        if stopped:
            # What happens meanwhile is read when things go on.
            return None, False
        changed = True
        self._world = None  # should what follows fail, the next round reads everything
        before = world
        if world is not None and patch is not None:
            changed = await asyncio.to_thread(world.apply, patch)
            if whole is not None and whole.sequence == world.sequence:
                self._check_at = now + CHECK_SECONDS
                world = await asyncio.to_thread(self._checked, world, whole)
                changed = changed or world is not before
        elif whole is not None:
            self._demand = self._demand or Demand(saved)
            world = await asyncio.to_thread(self._built, whole)
            self._check_at = now + CHECK_SECONDS
            self._epoch = self._store.control_epoch
            self.count("reloads")
        self._world = world
        await self._learn(world)
        return world, changed

    def _read(
        self, tx: Tx, world: World | None, known: Page | None, *, whole: bool
    ) -> tuple[bool, Changes | None, Everything | None, str]:
        # While everything is stopped, proposals would only be denied.
        if actions.kill_switch(tx).engaged:
            return True, None, None, ""
        patch = None if world is None or known is None else changes(tx, known, self._reading, world.dependents)
        all_of_it = everything(tx, self._reading) if patch is None or whole else None
        return False, patch, all_of_it, demand_history.load(tx) if self._demand is None else ""

    def _built(self, whole: Everything) -> World:
        history = None if self._demand is None else self._demand.history
        return World(whole, terms=self._terms, packing=self._packing, history=history)

    def _checked(self, world: World, whole: Everything) -> World:
        """Return the world if it is as the store has it; else tell, and begin anew."""
        found = differences(world, whole)
        if not found:
            return world
        self.count("differences", len(found))
        log.error("scheduler.memory_differs", count=len(found), examples=sorted(found)[:_SHOWN])
        return self._built(whole)

    async def _learn(self, world: World | None) -> None:
        demand = self._demand
        if world is None or demand is None:
            return
        demand.note(world.arrived())
        if demand.is_worth_saving:
            text = demand.dump()
            await self._store.write(lambda tx: demand_history.save(tx, text))

    # Proposals.

    async def _propose(self, effects: list[tuple[Effect, JobId, str]]) -> list[_Answer]:
        """Propose in batches: those that wait at the same time share a commit."""
        sequence, found = str(self._store.changes.newest), list[_Answer]()
        for batch in batched(effects):
            found += await asyncio.gather(*(self._ask(_proposal(*one, sequence)) for one in batch))
        return found

    async def _ask(self, proposal: Proposal) -> _Answer:
        """Propose. What the governor cannot even judge is refused: it keeps no other job from its place."""
        try:
            action = await self._governor.propose(proposal)
        except Unavailable:
            raise
        except Exception as error:
            log.exception("scheduler.proposal_failed", job_id=proposal.job_id)
            why = error.message if isinstance(error, OrQuantaError) else type(error).__name__
            return _Answer(done=False, outcome=f"it cannot be judged: {why}")
        return _Answer(action.state is ActionState.DONE, action.outcome)

    async def _place(self, placements: tuple[PlaceJob, ...]) -> int:
        proposed = await self._propose([(one, one.job_id, str(one.epoch)) for one in placements])
        for effect, answer in zip(placements, proposed, strict=True):
            if answer.done:
                self._refusals.forget(effect.job_id)
                self.count("placements")
            else:
                self._refusals.note(effect.job_id, answer.outcome, self._store.clock.monotonic())
                self.count("placements_refused")
        return sum(answer.done for answer in proposed)

    async def _preempt(self, world: World, preemptions: tuple[Preemption, ...]) -> int:
        now = self._store.clock
        waiting = {one.for_job_id for one in preemptions}
        vain = {job_id for job_id in waiting if self._refusals.would_be_vain(job_id, now.monotonic())}
        effects = [
            PreemptJob(one.job_id, one.allocation_id, one.for_job_id, one.reason)
            for one in preemptions
            if one.for_job_id not in vain
        ]
        proposed = await self._propose([(one, one.job_id, one.allocation_id) for one in effects])
        for effect, answer in zip(effects, proposed, strict=True):
            if answer.done:
                self._preemption.forget(effect.for_job_id)
                self.count("preemptions")
            else:
                # Neither the same attempt nor, for a while, any other is asked: most refusals are about all of them.
                world.spare(effect.allocation_id, now.now() + _SPARED)
                self._preemption.note(effect.for_job_id, answer.outcome, now.monotonic())
                self.count("preemptions_refused")
        return sum(answer.done for answer in proposed)

    async def _gather(self, world: World, head: tuple[Standing, ...], now: float) -> int:
        """Have attempts go elsewhere that lose nothing by it, if a gang finds its GPUs in one piece then."""
        if not head or now < self._gather_at or not self._queue_terms(now).preemption:
            return 0
        moves = await asyncio.to_thread(gathered, world, head, self._store.clock.now())
        if moves:
            self._gather_at = now + _GATHERED_SECONDS
            self.count("moves", len(moves))
        return await self._preempt(world, moves)

    def _queue_terms(self, now: float) -> QueueTerms:
        paused = bool(self._preemption.held_back(now))
        return replace(self._terms, preemption=self._terms.preemption and not paused)


def _told(placed: int, making_way: int, waiting: int) -> str:
    parts = [f"placed {placed} of {waiting} waiting jobs"] if placed else []
    parts += [f"asked {making_way} attempts to make way"] if making_way else []
    return "; ".join(parts)


def _proposal(effect: Effect, job_id: JobId, what: str, sequence: str) -> Proposal:
    return Proposal(
        # What was refused because it was stale may be right later, so the moment is part of the id.
        id=derived_id(ACTION, NAME, job_id, what, sequence),
        effect=effect,
        proposer=NAME,
        reasoning=getattr(effect, "reason", ""),
        is_person=False,
        job_id=job_id,
    )
