"""What a host writes down, and remembers after its process was killed."""

import json
from pathlib import Path

from orquanta.v1 import job_pb2, node_link_pb2
from simulator.counts import HostCounts, Latencies
from simulator.draws import Duration
from simulator.host import Terms, VirtualHost
from simulator.journal import Happening, Journal, recall
from simulator.members import JobTerms
from simulator.models import MODELS
from simulator.repairs import RepairTerms

NOW = 1_800_000_000.0
NODE = "n-000000000001"


def host(file: Path, began_at: float = NOW) -> VirtualHost:
    terms = Terms(
        MODELS["H100"],
        4,
        JobTerms(Duration.parse("30")),
        RepairTerms(Duration.parse("2"), Duration.parse("20")),
    )
    return VirtualHost(0, "sim-0", NODE, terms, HostCounts(), Latencies(), began_at, Journal(file))


def desired(*allocations: str) -> node_link_pb2.DesiredState:
    members = [
        node_link_pb2.MemberAssignment(allocation_id=one, job_id="j-1", epoch=1, world_size=1, gpu_uuids=["GPU-1"])
        for one in allocations
    ]
    return node_link_pb2.DesiredState(control_epoch=7, members=members)


def test_starts_and_ends_are_written_in_order(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    one = host(file)
    one.obey(desired("a-1"), NOW)
    one.advance(NOW + 2)
    one.advance(NOW + 40)
    one.acknowledge("a-1", 0)
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["what"] for line in told] == ["taken", "began", "ended", "forgotten"]
    assert (told[0]["gpus"], told[0]["milli"], told[2]["exit_code"]) == (["GPU-1"], 1000, 0)
    assert [line["at"] for line in told] == sorted(line["at"] for line in told)


def test_a_host_that_was_killed_does_not_start_again_what_it_had_begun_or_ended(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    one = host(file)
    one.journal.note(Happening.LINKED, NODE, server="a:1", control_epoch=7)
    one.obey(desired("a-1"), NOW)
    one.advance(NOW + 2)
    one.advance(NOW + 40)
    one.obey(desired("a-1", "a-2"), NOW + 40)
    one.advance(NOW + 42)
    with file.open("a") as torn:
        torn.write('{"at": 1, "wh')
    known = recall(file, NOW + 50)[NODE]
    file.write_text(file.read_text().rpartition("\n")[0] + "\n")

    again = host(file, NOW + 50)
    again.recall(known)
    ended = {one.allocation_id: one.exit_reason for one in again.hello(NOW + 50).members}
    assert ended == {"a-1": job_pb2.EXIT_REASON_EXITED, "a-2": job_pb2.EXIT_REASON_SUPERVISOR_LOST}
    assert again.epoch == 7
    again.obey(desired("a-1", "a-2"), NOW + 51)
    assert again.counts.members_started == 0
    again.acknowledge("a-1", 0)
    again.acknowledge("a-2", 0)
    again.obey(desired("a-2"), NOW + 52)  # it was written before the end was in the books
    assert again.counts.members_started == 0
    assert [one.allocation_id for one in again.ends()] == ["a-2"]
    again.acknowledge("a-2", 0)
    assert not recall(file, NOW + 60)[NODE].members
