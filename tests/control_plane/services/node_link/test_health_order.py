"""What has gone wrong is written before what became of it, and nothing waits for ever."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.model.identity import CertificateSerial, NodePrincipal
from control_plane.model.ids import NodeId
from control_plane.services.link_answers import LateAnswers
from control_plane.services.link_health_writer import LinkHealthWriter
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_session import LinkSession
from control_plane.services.link_terms import LinkTerms
from control_plane.urgency import STORM, Urgency
from orquanta.v1 import health_pb2, node_link_pb2, repair_pb2
from tests.fake_clock import FakeClock

RAISED, CLEARED = health_pb2.HEALTH_EVENT_KIND_RAISED, health_pb2.HEALTH_EVENT_KIND_CLEARED


class Desk:
    """A writer whose turn never comes: only whose turn it would be is looked at."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.urgency = Urgency(linger_seconds=3600.0)
        store = SimpleNamespace(clock=self.clock)
        self.answers = LateAnswers(self.urgency)
        self.writer = LinkHealthWriter(store, self.answers, urgency=self.urgency)  # type: ignore[arg-type] # nothing is stored
        self.registry = LinkRegistry(clock=self.clock)

    def host(self, name: str) -> LinkSession:
        return LinkSession(
            NodePrincipal(NodeId(name), CertificateSerial("1")),
            "boot",
            clock=self.clock,
            terms=LinkTerms(),
            registry=self.registry,
            answers=self.answers,
            changed=lambda _: None,
            health_changed=self.writer.changed,
        )

    def says(self, session: LinkSession, kind: health_pb2.HealthEventKind.ValueType, sequence: int = 1) -> None:
        now = Timestamp()
        now.FromDatetime(self.clock.now())
        condition = health_pb2.Condition(
            id="gpu/xid-79",
            scope=health_pb2.CONDITION_SCOPE_GPU,
            kind="XID",
            severity=health_pb2.CONDITION_SEVERITY_FATAL,
            repair=repair_pb2.REPAIR_RUNG_RESET_GPU,
            count=1,
            first_seen_at=now,
            last_seen_at=now,
        )
        event = health_pb2.HealthEvent(id="event", kind=kind, condition=condition, occurred_at=now)
        record = node_link_pb2.SpoolRecord(sequence=sequence, recorded_at=now, health_event=event)
        spool = node_link_pb2.SpoolBatch(spool_id="spool", records=[record])
        session.take(node_link_pb2.ConnectRequest(spool=spool))

    def in_turn(self) -> list[str]:
        return [session.node_id for session in self.writer._in_turn()]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_has_gone_wrong_comes_first(desk: Desk) -> None:
    desk.says(desk.host("over"), CLEARED)
    desk.says(desk.host("wrong"), RAISED)
    assert desk.in_turn() == ["wrong", "over"]


def test_a_host_of_which_something_waits_that_was_over_is_pressing_once_something_goes_wrong(desk: Desk) -> None:
    desk.says(desk.host("other"), CLEARED)
    host = desk.host("host")
    desk.says(host, CLEARED)
    desk.says(host, RAISED, sequence=2)
    assert desk.in_turn() == ["host", "other"]


def test_once_it_is_written_a_host_is_not_pressing_any_more(desk: Desk) -> None:
    host = desk.host("host")
    desk.says(host, RAISED)
    desk.says(host, CLEARED, sequence=2)
    host.health.written(1)
    assert not host.health.pressing
    assert host.health.waiting


def test_while_many_fail_all_else_has_the_room_that_is_left_and_comes_first_after_three_seconds(desk: Desk) -> None:
    desk.says(desk.host("over"), CLEARED)
    for number in range(STORM):
        desk.says(desk.host(f"wrong-{number}"), RAISED)
    assert desk.in_turn()[-1] == "over"
    desk.clock.advance(2.9)
    assert desk.in_turn()[-1] == "over"
    desk.clock.advance(0.1)
    assert desk.in_turn()[0] == "over"


def test_whoever_has_waited_long_has_a_turn_before_anybody_waits_again(desk: Desk) -> None:
    waiting = [f"over-{number}" for number in range(400)]
    for name in waiting:
        desk.says(desk.host(name), CLEARED)
    for number in range(STORM):
        desk.says(desk.host(f"wrong-{number}"), RAISED)
    desk.clock.advance(3.0)
    written: list[str] = []
    while len(written) < len(waiting):
        batches = desk.writer._next()
        written += [batch.session.node_id for batch in batches]
    assert written[: len(waiting)] == waiting


def test_one_that_says_much_takes_no_turn_from_those_that_wait_with_it(desk: Desk) -> None:
    much = desk.host("much")
    for sequence in range(1, 200):
        desk.says(much, CLEARED, sequence)
    desk.says(desk.host("little"), CLEARED)
    for number in range(STORM):
        desk.says(desk.host(f"wrong-{number}"), RAISED)
    desk.clock.advance(3.0)
    first, second = desk.writer._next()[:2]
    assert (first.session.node_id, len(first.records)) == ("much", 16)
    assert second.session.node_id == "little"


def test_what_was_wrong_before_a_host_told_its_full_state_does_not_press(desk: Desk) -> None:
    host = desk.host("host")
    host.health.begin(desk.clock.now() + timedelta(seconds=1))
    desk.says(host, RAISED)
    assert not host.health.pressing


async def test_while_they_are_treated_all_else_waits_as_well(desk: Desk) -> None:
    desk.says(desk.host("over"), CLEARED)
    with desk.urgency.urgent():
        assert desk.in_turn() == []
    assert desk.in_turn() == [], "between two batches it is not over"
    desk.clock.advance(3.0)
    assert desk.in_turn() == ["over"]
