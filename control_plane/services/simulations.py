"""Simulations of the queue: what would come of other hosts, jobs or ways to serve it. Nothing is changed."""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from math import ceil
from typing import Final

from control_plane.errors import Unavailable
from control_plane.fleet.placement.room import Claim, Host
from control_plane.fleet.prices import PriceTable
from control_plane.fleet.queueing.model import WaitingJob
from control_plane.fleet.queueing.simulate import simulate
from control_plane.fleet.queueing.simulate_model import SimulatedJob, Simulation, SimulationFigures
from control_plane.model.ids import UserId
from control_plane.model.money import to_micros
from control_plane.scheduling.view import QueueView
from control_plane.scheduling.world import World
from control_plane.services.bounded import Bounded
from control_plane.services.validate.fields import Fields, shown
from control_plane.services.validate.simulations import (
    REMOVED_MAX,
    order,
    packing,
    simulated_hosts,
    simulated_jobs,
)
from orquanta.v1 import queue_pb2

_WAITING: Final = 2
_NO_LIMIT_SECONDS: Final = 4 * 3600  # how long a job is taken to run whose end nobody knows


@dataclass(frozen=True, slots=True)
class _Live:
    """The fleet and the queue as they are."""

    hosts: tuple[Host, ...]
    jobs: tuple[SimulatedJob, ...]
    user_limits: Mapping[UserId, int]


class Simulations:
    """Runs simulations in a thread, one at a time; a caller that goes away ends its own."""

    def __init__(self, view: QueueView, prices: PriceTable) -> None:
        self._view = view
        self._prices = prices
        self._bounded = Bounded(at_once=1, waiting=_WAITING)

    async def run(self, request: queue_pb2.SimulateRequest, now: datetime) -> queue_pb2.SimulateResponse:
        """Return what came of it and, if something was to be changed, of the same without the changes."""
        changed, plain = await self._asked(request, now)
        ended = threading.Event()

        def work() -> queue_pb2.SimulateResponse:
            response = queue_pb2.SimulateResponse(result=_figures(simulate(changed, lambda *_: _go_on(ended))))
            if plain is not None:
                response.baseline.CopyFrom(_figures(simulate(plain, lambda *_: _go_on(ended))))
            return response

        try:
            return await self._bounded.run(work)
        except asyncio.CancelledError:
            ended.set()
            raise

    async def _asked(self, request: queue_pb2.SimulateRequest, now: datetime) -> tuple[Simulation, Simulation | None]:
        fields, settings = Fields(), self._view.settings
        jobs = simulated_jobs(fields, request.jobs)
        hosts = simulated_hosts(fields, "nodes", request.nodes)
        added = simulated_hosts(fields, "add_nodes", request.add_nodes)
        removed = set(fields.count("remove_nodes", request.remove_nodes, most=REMOVED_MAX))
        terms = replace(
            settings.terms,
            order=order(fields, request.order, settings.terms.order),
            backfill=request.backfill if request.HasField("backfill") else settings.terms.backfill,
            preemption=request.preemption if request.HasField("preemption") else settings.terms.preemption,
        )
        chosen = packing(fields, request.packing, settings.packing)
        live, rights = await self._view.look(lambda world: (_live(world, now), world.rights))
        before = hosts or live.hosts
        known = {name for host in before for name in (host.name, host.node_id)}
        for index, name in enumerate(request.remove_nodes):
            if name not in known:
                fields.wrong(
                    f"remove_nodes[{index}]",
                    f"{shown(name)} is none of the hosts that this is simulated on; see: orquanta node list",
                    "NODE_UNKNOWN",
                )
        fields.check()
        left = tuple(host for host in before if not removed.intersection((host.name, host.node_id)))
        plain = Simulation(
            hosts=before,
            jobs=jobs or live.jobs,
            terms=settings.terms,
            packing=settings.packing,
            teams=rights.teams,
            user_limits={} if jobs else live.user_limits,
            prices=_prices((*before, *added), self._prices),
            seed=request.seed,
            starts_at=now,
        )
        changed = replace(plain, hosts=(*left, *added), terms=terms, packing=chosen)
        return changed, None if changed == plain else plain


def _go_on(ended: threading.Event) -> None:
    if ended.is_set():
        raise Unavailable("who asked for the simulation has gone away")


def _live(world: World, now: datetime) -> _Live:
    """Return the hosts that take jobs or hold some, and the jobs; each is taken to use its whole time."""
    claims = world.room.claims().values()
    holding = {one.node_id for claim in claims for one in claim.placements}
    hosts = tuple(host for host in world.hosts.values() if host.open or host.node_id in holding)
    waiting = sorted(world.queue.jobs().values(), key=lambda job: (job.queued_at, job.job_id))
    jobs = (*(_running(claim, now) for claim in claims), *(_waiting(job, now) for job in waiting))
    return _Live(hosts, jobs, world.rights.limits)


def _running(claim: Claim, now: datetime) -> SimulatedJob:
    left = _NO_LIMIT_SECONDS if claim.ends_by is None else max(1.0, (claim.ends_by - now).total_seconds())
    return SimulatedJob(
        claim.job_id,
        0.0,
        left,
        claim.resources,
        claim.priority,
        claim.team,
        claim.user_id,
        0 if claim.ends_by is None else ceil(left),
        waited_seconds=_since(claim.started_at, now),
        running=claim,
    )


def _waiting(job: WaitingJob, now: datetime) -> SimulatedJob:
    return SimulatedJob(
        job.job_id,
        0.0,
        float(job.max_runtime_seconds or _NO_LIMIT_SECONDS),
        job.resources,
        job.priority,
        job.team,
        job.user_id,
        job.max_runtime_seconds,
        waited_seconds=_since(job.queued_at, now),
        after=job.waits_for,
    )


def _since(then: datetime, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds())


def _prices(hosts: Iterable[Host], prices: PriceTable) -> Mapping[str, Decimal]:
    models = {slot.gpu_type for host in hosts for slot in host.slots}
    return {model: prices.usd_per_gpu_hour(model) for model in sorted(models)}


def _figures(value: SimulationFigures) -> queue_pb2.SimulationResult:
    return queue_pb2.SimulationResult(
        jobs_finished=value.jobs_finished,
        jobs_unsatisfiable=value.jobs_unsatisfiable,
        makespan_seconds=value.makespan_seconds,
        utilization=value.utilization,
        wait_mean_seconds=value.wait_mean_seconds,
        wait_p50_seconds=value.wait_p50_seconds,
        wait_p95_seconds=value.wait_p95_seconds,
        wait_max_seconds=value.wait_max_seconds,
        cost_usd_micros=to_micros(value.cost_usd),
        preemptions=value.preemptions,
        lost_gpu_seconds=value.lost_gpu_seconds,
        points=[
            queue_pb2.SimulationPoint(
                at_seconds=one.at_seconds,
                gpus_used=one.gpus_used,
                gpus_total=one.gpus_total,
                jobs_waiting=one.jobs_waiting,
            )
            for one in value.points
        ],
    )
