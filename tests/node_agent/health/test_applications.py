"""Telling a bad GPU from a bad program."""

import itertools
import random

import pytest

from node_agent.health.applications import chance, hypergeometric
from node_agent.health.model import JobOnGpu, Rung, Severity
from tests.node_agent.health.host import Host, uuid


def give(host: Host, index: int, job: str, pid: int) -> None:
    holders = dict(host.engine._host.holders)
    holders[uuid(index)] = JobOnGpu(job, f"a-{job}", frozenset({pid}))
    host.engine.set_jobs(holders)


def busy(host: Host) -> None:
    host.engine.set_jobs({uuid(index): JobOnGpu(f"j-busy-{index}", f"a-{index}") for index in range(len(host.gpus))})


@pytest.mark.parametrize("code", [13, 31])
def test_faults_of_different_jobs_on_one_gpu_make_it_suspect_then_ask_for_a_test(host: Host, code: int) -> None:
    for well in range(30):
        host.engine.set_jobs({uuid(index): JobOnGpu(f"j-well-{well}-{index}", "a") for index in range(5)})
    for run in range(3):
        give(host, 5, f"j-{run}", 100 + run)
        host.xid(5, code, pid=100 + run)
        host.clock.advance(120)
    suspect = host.conditions()[f"gpu/{uuid(5)}/suspect"]
    assert (suspect.severity, suspect.repair) == (Severity.WARNING, None)
    assert host.repairs() == {}
    for run in range(3, 8):
        give(host, 5, f"j-{run}", 100 + run)
        host.xid(5, code, pid=100 + run)
        host.clock.advance(120)
    suspect = host.conditions()[f"gpu/{uuid(5)}/suspect"]
    assert (suspect.severity, suspect.repair, suspect.sticky) == (Severity.FATAL, Rung.VERIFY, True)
    host.take(host.engine.note_repair([uuid(5)], Rung.VERIFY, True, host.clock.now()))
    assert f"gpu/{uuid(5)}/suspect" not in host.conditions()


def test_fault_that_moves_with_its_job_is_the_job_s(host: Host) -> None:
    busy(host)
    for index in range(8):
        give(host, index, "j-bad", 500)
        host.xid(index, 31, pid=500)
        host.clock.advance(60)
    conditions = host.conditions()
    assert host.repairs() == {}
    assert not [one for one in conditions if one.endswith("/suspect")]
    (moved,) = [one for one in conditions.values() if one.kind == "APPLICATION_FAULT"]
    assert (moved.severity, moved.subject) == (Severity.INFO, "j-bad")


def test_one_job_that_faults_again_and_again_on_one_gpu_speaks_against_no_gpu(host: Host) -> None:
    busy(host)
    give(host, 0, "j-bad", 500)
    for _ in range(20):
        host.xid(0, 13, pid=500)
        host.clock.advance(30)
    assert f"gpu/{uuid(0)}/suspect" not in host.conditions()


def test_restarts_of_one_program_outside_jobs_ask_for_no_repair(host: Host) -> None:
    busy(host)
    host.engine.set_jobs({})
    for pid in range(200, 240):
        host.xid(0, 13, pid=pid, process="train.py")
        host.clock.advance(60)
    assert host.repairs() == {}


def test_faults_on_the_only_gpu_in_use_ask_for_no_repair(host: Host) -> None:
    for run in range(40):
        host.engine.set_jobs({uuid(0): JobOnGpu(f"j-{run}", "a")})
        host.xid(0, 13, pid=100 + run)
        host.clock.advance(60)
    assert host.repairs() == {}


def test_suspicion_ends_when_the_same_jobs_fault_elsewhere(host: Host) -> None:
    busy(host)
    for run in range(3):
        give(host, 5, f"j-{run}", 100 + run)
        host.xid(5, 13, pid=100 + run)
    assert f"gpu/{uuid(5)}/suspect" in host.conditions()
    give(host, 2, "j-0", 100)
    host.xid(2, 13, pid=100)
    assert f"gpu/{uuid(5)}/suspect" not in host.conditions()


def test_process_that_faults_on_and_on_is_to_be_stopped(host: Host) -> None:
    for _ in range(150):
        host.xid(0, 31, pid=4711)
        host.clock.advance(2)
    going_on = host.conditions()[f"gpu/{uuid(0)}/process-faults"]
    assert (going_on.repair, going_on.process_ids, going_on.severity) == (Rung.STOP_PROCESS, (4711,), Severity.WARNING)
    host.wait(300)
    assert host.repairs() == {}


def test_burst_of_a_dying_process_stops_nothing(host: Host) -> None:
    for _ in range(5000):
        host.xid(0, 13, pid=4711)
        host.clock.advance(0.001)
    assert host.repairs() == {}


def test_gpu_on_which_all_short_jobs_run_is_not_blamed_for_those_that_fault(host: Host) -> None:
    busy(host)
    for run in range(200):
        give(host, 5, f"j-{run}", 100 + run)
        if run % 3 == 0:
            host.xid(5, 13, pid=100 + run)
        host.clock.advance(60)
    assert host.repairs() == {}


def test_chance_of_runs_matches_counting_them() -> None:
    runs = list(itertools.combinations(range(10), 4))
    hits = sum(sum(one < 3 for one in drawn) >= 2 for drawn in runs)
    assert hypergeometric(2, 3, 4, 10) == pytest.approx(hits / len(runs))
    assert hypergeometric(0, 3, 4, 10) == 1.0
    assert hypergeometric(4, 4, 4, 4) == pytest.approx(1.0)


def test_chance_matches_the_simulation_of_it() -> None:
    seeded = random.Random(7)
    rounds, hits = 20_000, 0
    for _ in range(rounds):
        counts = [0] * 8
        for _ in range(12):
            counts[seeded.randrange(8)] += 1
        hits += max(counts) >= 5
    assert chance(5, 12, 8) == pytest.approx(hits / rounds, rel=0.2)
    assert chance(0, 10, 8) == 1.0
    assert chance(5, 5, 1) == 1.0
    assert 0.0 <= chance(1000, 2000, 8) < 1e-100
