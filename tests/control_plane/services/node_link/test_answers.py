"""Answers that can wait do so while many hosts have failed, and no longer than a host can bear."""

import asyncio

from control_plane.services.link_answers import LateAnswers
from control_plane.services.link_outbox import Outbox
from control_plane.urgency import Urgency
from orquanta.v1 import node_link_pb2

LONG, SHORT = 60.0, 15.0


def said(outbox: Outbox) -> list[str]:
    return [_told(response) for response in outbox.take()]


def _told(response: node_link_pb2.ConnectResponse) -> str:
    if response.HasField("heartbeat_ack"):
        return f"heartbeat {response.heartbeat_ack.sequence}"
    return f"{response.spool_ack.spool_id} {response.spool_ack.sequence}"


def test_while_all_is_calm_everything_is_answered_at_once() -> None:
    answers, outbox = LateAnswers(Urgency()), Outbox()
    answers.heartbeat(outbox, 1, lease_seconds=LONG)
    answers.spool(outbox, "spool", 7)
    assert said(outbox) == ["heartbeat 1", "spool 7"]


async def test_in_a_storm_answers_wait_until_it_is_over_and_only_the_last_is_given() -> None:
    urgency, outbox = Urgency(linger_seconds=0.0), Outbox()
    answers = LateAnswers(urgency)
    running = asyncio.create_task(answers.run())
    told = asyncio.Event()
    with urgency.urgent():
        outbox.on_news = told.set
        answers.spool(outbox, "spool", 7)
        answers.heartbeat(outbox, 1, lease_seconds=LONG)
        answers.heartbeat(outbox, 2, lease_seconds=LONG)
        await asyncio.sleep(0)
        assert said(outbox) == []
    await told.wait()
    assert said(outbox) == ["heartbeat 2", "spool 7"]
    running.cancel()


async def test_a_storm_without_an_end_does_not_keep_answers_for_ever() -> None:
    urgency, outbox = Urgency(longest_wait_seconds=0.01), Outbox()
    answers = LateAnswers(urgency)
    running = asyncio.create_task(answers.run())
    told = asyncio.Event()
    outbox.on_news = told.set
    with urgency.urgent():
        for sequence in (1, 2):
            answers.heartbeat(outbox, sequence, lease_seconds=LONG)
            await told.wait()
            told.clear()
            assert said(outbox) == [f"heartbeat {sequence}"]
    running.cancel()


async def test_a_host_with_a_short_lease_has_its_heartbeats_answered_at_once() -> None:
    urgency, outbox = Urgency(), Outbox()
    answers = LateAnswers(urgency)
    with urgency.urgent():
        answers.heartbeat(outbox, 1, lease_seconds=SHORT)
    assert said(outbox) == ["heartbeat 1"]


async def test_who_says_more_than_once_in_a_storm_is_answered_so_that_it_can_go_on() -> None:
    urgency, outbox = Urgency(), Outbox()
    answers = LateAnswers(urgency)
    with urgency.urgent():
        answers.spool(outbox, "spool", 1)
        assert said(outbox) == []
        answers.spool(outbox, "spool", 2)
    assert said(outbox) == ["spool 2"]


async def test_an_answer_never_comes_after_a_newer_one() -> None:
    urgency, outbox = Urgency(linger_seconds=0.0), Outbox()
    answers = LateAnswers(urgency)
    with urgency.urgent():
        answers.spool(outbox, "spool", 1)
        answers.heartbeat(outbox, 1, lease_seconds=LONG)
    await urgency.calm()
    answers.spool(outbox, "spool", 2)
    answers.heartbeat(outbox, 2, lease_seconds=LONG)
    assert said(outbox) == ["heartbeat 2", "spool 2"]
    running = asyncio.create_task(answers.run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert said(outbox) == []
    running.cancel()
