"""The simulation: figures that can be worked out by hand, and the same ones every time."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from control_plane.errors import InvalidArgument
from control_plane.fleet.placement.ranking import PackingPolicy
from control_plane.fleet.placement.room import Claim
from control_plane.fleet.queueing.model import QueueOrder, QueueTerms
from control_plane.fleet.queueing.simulate import simulate
from control_plane.fleet.queueing.simulate_model import SimulatedJob, Simulation
from control_plane.model.action import Placement
from control_plane.model.ids import AllocationId, JobId, UserId
from control_plane.model.job import JobPriority, ResourceRequest
from tests.control_plane.fleet.queueing.rooms import NOW, host, hosts

ONE = ResourceRequest(gpu_count=1)


def test_figures_of_two_jobs_that_take_turns_on_one_gpu() -> None:
    jobs = (
        SimulatedJob("a", 0, 3600, ONE),
        SimulatedJob("b", 0, 3600, ONE),
        SimulatedJob("c", 0, 1, ResourceRequest(gpu_count=2)),
    )
    figures = simulate(Simulation(tuple(hosts(1, 1)), jobs, prices={"H100": Decimal(2)}))
    assert (figures.jobs_finished, figures.jobs_unsatisfiable) == (2, 1)
    assert figures.makespan_seconds == 7200
    assert figures.utilization == 1.0
    assert (figures.wait_mean_seconds, figures.wait_p50_seconds, figures.wait_max_seconds) == (1800, 0, 3600)
    assert figures.cost_usd == 4
    assert {(one.at_seconds, one.gpus_used, one.jobs_waiting) for one in figures.points} >= {(0, 1, 2), (7200, 0, 1)}


def test_a_job_that_makes_way_loses_its_work_and_runs_again() -> None:
    low = SimulatedJob("low", 0, 1000, ONE, priority=JobPriority.LOW)
    urgent = SimulatedJob("urgent", 100, 50, ONE, priority=JobPriority.URGENT)
    terms = QueueTerms(min_runtime_seconds=0)
    figures = simulate(Simulation(tuple(hosts(1, 1)), (low, urgent), terms, stop_seconds=30))
    assert (figures.jobs_finished, figures.preemptions, figures.lost_gpu_seconds) == (2, 1, 130)
    assert figures.makespan_seconds == 130 + 50 + 1000
    patient = simulate(Simulation(tuple(hosts(1, 1)), (low, urgent), replace(terms, preemption=False)))
    assert (patient.preemptions, patient.wait_max_seconds) == (0, 900)


def test_one_that_is_protected_makes_way_once_it_no_longer_is() -> None:
    low = SimulatedJob("low", 0, 1000, ONE, priority=JobPriority.LOW)
    urgent = SimulatedJob("urgent", 100, 50, ONE, priority=JobPriority.URGENT)
    figures = simulate(
        Simulation(tuple(hosts(1, 1)), (low, urgent), QueueTerms(min_runtime_seconds=600), stop_seconds=0)
    )
    assert (figures.preemptions, figures.lost_gpu_seconds) == (1, 600)


def test_a_time_limit_ends_a_job() -> None:
    figures = simulate(Simulation(tuple(hosts(1, 1)), (SimulatedJob("a", 5, 1000, ONE, max_runtime_seconds=10),)))
    assert (figures.jobs_finished, figures.makespan_seconds) == (1, 10)


@pytest.mark.parametrize("packing", [PackingPolicy.NODE_VALUE, PackingPolicy.RANDOM])
def test_the_same_seed_gives_the_same_figures(packing: PackingPolicy) -> None:
    jobs = tuple(
        SimulatedJob(
            f"{number}",
            7.0 * number,
            100.0 + number % 7 * 50,
            ResourceRequest(gpu_count=1 + number % 4),
            user=f"{number % 3}",
        )
        for number in range(30)
    )
    given = Simulation(tuple(hosts(3, 4)), jobs, packing=packing, seed=3)
    told: list[int] = []
    figures = simulate(given, lambda ended, _: told.append(ended))
    assert figures == simulate(given)
    assert figures.jobs_finished == 30
    assert told == sorted(told)
    assert told[-1] == 30


def _running(name: str, host_number: int, gpus: int, seconds: float) -> SimulatedJob:
    """A job that holds the first GPUs of a host."""
    resources, machine = ResourceRequest(gpu_count=gpus), host(host_number)
    held = Placement(0, machine.node_id, tuple(slot.uuid for slot in machine.slots[:gpus]))
    claim = Claim(
        AllocationId(name), JobId(name), UserId("ada"), "", JobPriority.NORMAL, resources, (held,), NOW - timedelta(60)
    )
    return SimulatedJob(name, 0, seconds, resources, user="ada", running=claim)


def test_what_runs_goes_on_where_it_runs() -> None:
    scattered = (_running("a", 0, 5, 1000), _running("b", 1, 3, 500))
    wide = SimulatedJob("wide", 0, 100, ResourceRequest(gpu_count=8, node_count=1))
    given = Simulation(tuple(hosts(2, 8)), (*scattered, wide), prices={"H100": Decimal(1)}, starts_at=NOW)
    figures = simulate(given)
    assert (figures.jobs_finished, figures.wait_max_seconds, figures.preemptions) == (3, 500, 0)
    assert figures.cost_usd == (Decimal(5 * 1000 + 3 * 500 + 8 * 100) / 3600).quantize(Decimal("0.000001"))


def test_what_runs_on_a_host_that_is_taken_away_is_queued_again() -> None:
    scattered = (_running("a", 0, 5, 1000), _running("b", 1, 5, 500))
    figures = simulate(Simulation((host(0),), scattered, starts_at=NOW))
    assert (figures.jobs_finished, figures.wait_max_seconds, figures.makespan_seconds) == (2, 1000, 1500)


def test_jobs_that_wait_for_others_come_after_them() -> None:
    jobs = (
        SimulatedJob("third", 0, 10, ONE, after=("first", "second", "gone")),
        SimulatedJob("first", 0, 100, ONE),
        SimulatedJob("second", 0, 300, ONE),
        SimulatedJob("never", 0, 10, ONE, after=("huge",)),
        SimulatedJob("huge", 0, 10, ResourceRequest(gpu_count=64)),
    )
    figures = simulate(Simulation(tuple(hosts(1, 8)), jobs))
    assert (figures.jobs_finished, figures.jobs_unsatisfiable) == (3, 2)
    assert (figures.wait_max_seconds, figures.makespan_seconds) == (300, 310)


def test_who_has_waited_longer_goes_first() -> None:
    jobs = (
        SimulatedJob("fresh", 0, 100, ONE),
        SimulatedJob("old", 0, 1000, ONE, waited_seconds=60),
    )
    figures = simulate(Simulation(tuple(hosts(1, 1)), jobs, QueueTerms(order=QueueOrder.FIFO)))
    assert figures.wait_max_seconds == 1000


def test_limits_of_users_hold() -> None:
    jobs = tuple(SimulatedJob(f"{number}", 0, 100, ONE, user="ada") for number in range(2))
    figures = simulate(Simulation(tuple(hosts(1, 8)), jobs, user_limits={UserId("ada"): 1}))
    assert figures.wait_max_seconds == 100


def test_too_many_jobs_or_times_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="at most 200,000"):
        simulate(Simulation((), (SimulatedJob("a", 0, 1, ONE),) * 200_001))
    with pytest.raises(InvalidArgument, match="negative or endless"):
        simulate(Simulation((), (SimulatedJob("a", float("nan"), 1, ONE),)))
