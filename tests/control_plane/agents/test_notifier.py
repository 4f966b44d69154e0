"""Notices to webhooks, over real HTTP: once each, again after failures, given up at last, and nothing private."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog

from control_plane.agents import notifier as module
from control_plane.agents.notice_texts import WebhookKind
from control_plane.agents.notifier import ATTEMPTS_MAX, Notifier, Webhook
from control_plane.model.action import Action
from control_plane.model.agent import AgentRecord
from control_plane.model.ids import INCIDENT, derived_id
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.node import Node
from control_plane.store import agents, incidents, notices
from control_plane.store.database import Tx
from tests.control_plane.agents.receiver import SECRET, Receiver, receiving, silent
from tests.control_plane.world import World, spec

EXPENSIVE = spec("train", gpu=8, seconds=3600 * 40)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


async def waiting(world: World, name: str = "ada") -> Action:
    user = await world.user(name)
    return await world.launch(user, replace(EXPENSIVE, name=f"train-{name}"))


def notifier(world: World, *receivers: Receiver, kind: WebhookKind = WebhookKind.JSON) -> Notifier:
    return Notifier(world.store, [receiver.webhook(kind) for receiver in receivers])


async def counts(world: World) -> notices.Counts:
    return await world.store.read(notices.counts)


async def test_what_waits_is_told_once_with_the_command_that_approves_it(any_world: World, receiver: Receiver) -> None:
    action = await waiting(any_world)
    telling = notifier(any_world, receiver)
    assert await telling.round() == "1 notices sent"
    assert await telling.round() == ""
    (heard,) = receiver.heard
    assert (heard["kind"], heard["action_id"], heard["hash"]) == ("approval.requested", action.id, action.hash)
    assert heard["approve"] == f"orquanta action approve {action.id} --hash {action.hash}"
    assert (heard["estimate_usd"], heard["approvals_missing"]) == (str(action.estimate_usd), "1")
    assert receiver.paths == [f"/{SECRET}"]


async def test_nothing_private_is_told(world: World, receiver: Receiver) -> None:
    user = await world.user("ada")
    command = "train --api-key sk-abcdefghijklmnop1234567890 <!channel>"
    await world.launch(user, replace(EXPENSIVE, command=command))
    await notifier(world, receiver).round()
    await notifier(world, receiver, kind=WebhookKind.SLACK).round()
    text = json.dumps(receiver.heard)
    assert "sk-abcdefghijklmnop" not in text
    assert "ada@example.com" not in text
    assert "a test wants it" not in text
    allowed = {
        "kind", "action_id", "action_kind", "state", "summary", "estimate_usd", "hash", "show", "expires_at",
        "approve", "approvals_missing", "text",
    }  # fmt: skip
    assert set(receiver.heard[0]) == allowed


async def test_slack_gets_a_text_that_cannot_call_anybody(world: World, receiver: Receiver) -> None:
    user = await world.user("ada")
    await world.launch(user, replace(EXPENSIVE, command="echo <!channel> & <@U1>"))
    await notifier(world, receiver, kind=WebhookKind.SLACK).round()
    (heard,) = receiver.heard
    assert set(heard) == {"text"}
    assert "<" not in heard["text"]
    assert "&lt;!channel&gt; &amp; " in heard["text"]
    assert "orquanta action approve act-" in heard["text"]


async def test_a_decision_is_told_to_those_who_were_asked(world: World, receiver: Receiver) -> None:
    action = await waiting(world)
    telling = notifier(world, receiver)
    await telling.round()
    olga = await world.principal("olga")
    await world.governor.approve(action.id, approver=olga, hash=action.hash, reason="fits")
    await telling.round()
    await telling.round()
    assert [heard["kind"] for heard in receiver.heard] == ["approval.requested", "approval.decided"]
    assert receiver.heard[1]["state"] == "done"
    assert "approve" not in receiver.heard[1]
    assert olga.email not in json.dumps(receiver.heard[1])


async def test_what_needs_no_approval_is_not_told(world: World, receiver: Receiver) -> None:
    await world.launch(await world.user(), spec("train"))
    assert await notifier(world, receiver).round() == ""
    assert receiver.heard == []


async def test_what_is_about_to_run_out_is_told_once_more(world: World, receiver: Receiver) -> None:
    action = await waiting(world)
    telling = notifier(world, receiver)
    await telling.round()
    world.clock.advance(20 * 60)
    await telling.round()
    assert len(receiver.heard) == 1
    world.clock.advance(6 * 60)
    await telling.round()
    await telling.round()
    assert [heard["kind"] for heard in receiver.heard] == ["approval.requested", "approval.expiring"]
    world.clock.advance(5 * 60)
    await world.store.write(world.governor.expire)
    await telling.round()
    assert (receiver.heard[2]["kind"], receiver.heard[2]["state"]) == ("approval.decided", "expired")
    assert receiver.heard[2]["action_id"] == action.id


async def test_a_failure_is_tried_again_later_each_time_until_it_arrives(any_world: World, receiver: Receiver) -> None:
    await waiting(any_world)
    receiver.answers = [500, 503, 429]
    telling = notifier(any_world, receiver)
    assert "HTTP 500" in await telling.round()
    assert await telling.round() == ""  # not yet
    for wait in (4, 8):
        any_world.clock.advance(wait)
        assert "127.0.0.1: HTTP" in await telling.round()
    any_world.clock.advance(15)
    assert await telling.round() == ""
    any_world.clock.advance(1)
    assert await telling.round() == "1 notices sent"
    assert len(receiver.heard) == 4
    assert await counts(any_world) == notices.Counts(waiting=0, sent=1, dead=0)


async def test_what_never_arrives_is_given_up_and_shown(world: World, receiver: Receiver) -> None:
    await waiting(world)
    receiver.answers = [500] * 100
    telling = notifier(world, receiver)
    said = []
    for _ in range(ATTEMPTS_MAX):
        said.append(await telling.round())
        world.clock.advance(240)
    asked = [heard for heard in receiver.heard if heard["kind"] == "approval.requested"]
    assert len(asked) == ATTEMPTS_MAX
    assert ["given up" in text for text in said] == [False] * (ATTEMPTS_MAX - 1) + [True]
    assert (await counts(world)).dead >= 1
    assert telling._counters["notices_dead"] >= 1


async def test_a_notice_that_could_not_be_sent_is_sent_after_a_restart(any_world: World, receiver: Receiver) -> None:
    await waiting(any_world)
    receiver.answers = [500]
    await notifier(any_world, receiver).round()
    any_world.clock.advance(10)
    assert await notifier(any_world, receiver).round() == "1 notices sent"
    assert len(receiver.heard) == 2


async def test_one_webhook_that_fails_keeps_no_notice_from_the_other(world: World, receiver: Receiver) -> None:
    await waiting(world)
    with receiving() as broken:
        broken.answers = [500] * 10
        await notifier(world, broken, receiver).round()
    assert len(receiver.heard) == 1
    assert await counts(world) == notices.Counts(waiting=1, sent=1, dead=0)


async def test_what_was_decided_meanwhile_is_not_asked_for_any_more(world: World, receiver: Receiver) -> None:
    action = await waiting(world)
    receiver.answers = [500]
    telling = notifier(world, receiver)
    await telling.round()
    await world.governor.reject(action.id, approver=await world.principal("olga"), reason="no")
    world.clock.advance(60)
    await telling.round()
    assert [heard["kind"] for heard in receiver.heard] == ["approval.requested", "approval.decided"]
    world.clock.advance(600)
    assert await telling.round() == ""


async def test_no_redirect_is_followed(world: World, receiver: Receiver) -> None:
    await waiting(world)
    with receiving() as elsewhere:
        receiver.answers = [307]
        receiver.location = f"http://127.0.0.1:{elsewhere.port}/stolen"
        assert "HTTP 307; redirects are not followed" in await notifier(world, receiver).round()
        assert elsewhere.heard == []


async def test_a_host_that_is_not_there_is_an_error_without_its_address(world: World, receiver: Receiver) -> None:
    await waiting(world)
    gone = replace(receiver.webhook(), url=f"http://127.0.0.1:1/{SECRET}")
    telling = Notifier(world.store, [gone])
    with structlog.testing.capture_logs() as logged:
        said = await telling.round()
    assert "127.0.0.1: ConnectError" in said
    assert SECRET not in said
    assert SECRET not in json.dumps(logged, default=str)
    assert [line["event"] for line in logged] == ["notice.failed"]


async def test_a_host_that_never_answers_is_given_a_bounded_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEND_SECONDS", 0.2)
    await waiting(world)
    async with silent() as port:
        telling = Notifier(world.store, [Webhook(f"http://127.0.0.1:{port}/{SECRET}", WebhookKind.JSON)])
        said = await telling.round()
    assert "no answer" in said or "ReadTimeout" in said


async def test_the_address_is_in_no_table(world: World, receiver: Receiver) -> None:
    await waiting(world)
    receiver.answers = [500]
    await notifier(world, receiver).round()
    rows = await world.store.read(lambda tx: notices.due(tx, [receiver.webhook().name], limit=10))
    assert rows == ()
    world.clock.advance(4)
    rows = await world.store.read(lambda tx: notices.due(tx, [receiver.webhook().name], limit=10))
    assert [row.attempts for row in rows] == [1]
    assert SECRET not in repr(rows)


async def escalated(world: World, node: Node) -> Incident:
    at = world.clock.now()
    incident = Incident(
        id=derived_id(INCIDENT, node.name),
        node_id=node.id,
        node_name=node.name,
        state=IncidentState.OPEN,
        summary="XID 79 again and again",
        diagnosis="",
        status_reason="",
        observed_at=at,
        opened_at=at,
        version=1,
    )

    def write(tx: Tx) -> None:
        incidents.insert(tx, incident)
        incidents.update(tx, incident.id, state=IncidentState.ESCALATED)

    await world.store.write(write)
    return incident


async def test_an_incident_that_needs_a_person_is_told_once(world: World, receiver: Receiver) -> None:
    incident = await escalated(world, await world.node("alpha"))
    telling = notifier(world, receiver)
    await telling.round()
    await telling.round()
    (heard,) = receiver.heard
    assert (heard["kind"], heard["incident_id"]) == ("incident.escalated", incident.id)
    assert heard["show"] == f"orquanta incident show {incident.id}"


async def test_old_incidents_are_not_told_to_a_webhook_that_comes_later(world: World, receiver: Receiver) -> None:
    await escalated(world, await world.node("alpha"))
    world.clock.advance(2 * 3600)
    assert await notifier(world, receiver).round() == ""


async def test_old_notices_are_forgotten(world: World, receiver: Receiver) -> None:
    action = await waiting(world)
    telling = notifier(world, receiver)
    await telling.round()
    await world.governor.reject(action.id, approver=await world.principal("olga"), reason="no")
    await telling.round()
    world.clock.advance(40 * 24 * 3600)
    before = world.clock.now() - timedelta(days=30)
    await world.store.write(lambda tx: notices.prune(tx, before=before))
    assert await counts(world) == notices.Counts(0, 0, 0)


async def test_the_agent_tells_how_it_goes(world: World, receiver: Receiver) -> None:
    await waiting(world)
    telling = Notifier(world.store, [receiver.webhook()], check_seconds=0.01)
    task = asyncio.create_task(telling.run())
    try:
        record = await reported(world)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert record.last_action == "1 notices sent"


async def reported(world: World) -> AgentRecord:
    """Return the agent's record once it says that something was sent."""
    seen = 0
    async with asyncio.timeout(30):
        while True:
            record = await world.store.read(lambda tx: agents.get(tx, "notifier"))
            if record is not None and record.metrics.get("notices_sent"):
                return record
            seen = await world.store.changes.wait_beyond(seen)
