"""Approvals: how many people, which, for what exactly, and for how long."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from control_plane.errors import OrQuantaError, PermissionDenied
from control_plane.model.action import Action, ActionState, CordonNode
from control_plane.model.approval import Approval
from control_plane.model.goal import GoalState
from control_plane.model.identity import Role
from control_plane.store import approvals, audit
from control_plane.store.database import Tx
from tests.control_plane.governor.approving import AN_ADMIN, EXPENSIVE, TWO_OPERATORS, approve, now, put, refusal
from tests.control_plane.world import World, principal, spec


async def test_two_different_people_must_approve_and_the_second_carries_it_out(any_world: World) -> None:
    put(any_world, TWO_OPERATORS)
    user, olga, otto = await any_world.user(), await any_world.principal("olga"), await any_world.principal("otto")
    goal = await any_world.goal(user)
    waiting = await any_world.launch(user, spec("train"), goal=goal)
    assert waiting.approval_need is not None
    assert (waiting.approval_need.count, waiting.expires_at) == (2, any_world.clock.now() + timedelta(minutes=45))
    first = await approve(any_world, waiting, olga)
    assert first.state is ActionState.AWAITING_APPROVAL
    assert [given.approver for given in first.approvals] == [olga.email]
    assert await any_world.maybe_job("train") is None
    assert (await any_world.goal_now(goal)).state is GoalState.AWAITING_APPROVAL
    done = await approve(any_world, first, otto)
    assert (done.state, done.decided_by) == (ActionState.DONE, f"{olga.email}, {otto.email}")
    assert await any_world.job("train")
    outcomes = [record.outcome for record in await any_world.audit(action_id=waiting.id)]
    assert outcomes == ["awaiting_approval", "awaiting_approval", "done"]


async def test_an_approval_names_hash_policies_estimate_person_time_and_reason(world: World) -> None:
    put(world, TWO_OPERATORS)
    user, olga = await world.user(), await world.principal("olga")
    waiting = await world.launch(user, spec("train"))
    given = (await approve(world, waiting, olga)).approvals[0]
    version = world.governor.policies.current.version
    expected = Approval(olga.user_id, olga.email, waiting.hash, version, Decimal("3.99"), "fits", world.clock.now())
    assert given == expected


async def test_two_approvals_of_one_person_are_one(any_world: World) -> None:
    put(any_world, TWO_OPERATORS)
    user, olga = await any_world.user(), await any_world.principal("olga")
    waiting = await any_world.launch(user, spec("train"))
    outcomes = await asyncio.gather(*(approve(any_world, waiting, olga) for _ in range(4)), return_exceptions=True)
    refusals = [one.reason for one in outcomes if isinstance(one, OrQuantaError)]
    assert refusals == ["ALREADY_APPROVED"] * 3
    after = await now(any_world, waiting)
    assert (after.state, len(after.approvals)) == (ActionState.AWAITING_APPROVAL, 1)
    assert await any_world.maybe_job("train") is None


async def test_the_store_itself_refuses_a_second_approval_of_a_person(any_world: World) -> None:
    put(any_world, TWO_OPERATORS)
    user, olga = await any_world.user(), await any_world.principal("olga")
    waiting = await any_world.launch(user, spec("train"))
    given = (await approve(any_world, waiting, olga)).approvals[0]
    await any_world.store.write(lambda tx: approvals.put(tx, waiting.id, replace(given, reason="again")))
    assert [one.reason for one in (await now(any_world, waiting)).approvals] == ["again"]


async def test_many_approving_at_once_launch_once(any_world: World) -> None:
    put(any_world, TWO_OPERATORS)
    user = await any_world.user()
    people = [await any_world.principal(f"op-{index}") for index in range(8)]
    waiting = await any_world.launch(user, spec("train"))
    outcomes = await asyncio.gather(*(approve(any_world, waiting, who) for who in people), return_exceptions=True)
    done = [one for one in outcomes if isinstance(one, Action) and one.state is ActionState.DONE]
    assert len(done) == 1
    assert (await any_world.account(user)).reserved_usd == Decimal("3.99")
    late = [one.reason for one in outcomes if isinstance(one, OrQuantaError)]
    assert late == ["ACTION_NOT_AWAITING"] * 6


async def test_only_those_whom_the_rule_names_may_approve(world: World) -> None:
    put(world, AN_ADMIN)
    user, olga = await world.user(), await world.principal("olga")
    waiting = await world.launch(user, spec("train"))
    assert await refusal(world, waiting, olga) == "NOT_AN_APPROVER"
    assert (await approve(world, waiting, await world.principal("root", Role.ADMIN))).state is ActionState.DONE


async def test_a_rule_may_name_people(world: World) -> None:
    put(world, AN_ADMIN.replace("[admin]", "[otto@example.com]"))
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    waiting = await world.launch(user, spec("train"))
    assert await refusal(world, waiting, olga) == "NOT_AN_APPROVER"
    assert (await approve(world, waiting, otto)).state is ActionState.DONE


async def test_an_agents_credential_never_approves_nor_rejects(world: World) -> None:
    user, olga = await world.user(), await world.principal("olga", Role.ADMIN)
    waiting = await world.launch(user, EXPENSIVE)
    agent = replace(olga, for_agent=True)
    assert await refusal(world, waiting, agent) == "AGENT_CREDENTIAL"
    with pytest.raises(PermissionDenied) as refused:
        await world.governor.reject(waiting.id, approver=agent, reason="")
    assert refused.value.reason == "AGENT_CREDENTIAL"
    assert (await approve(world, waiting, olga)).state is ActionState.DONE


async def test_an_agent_that_proposes_in_a_persons_name_does_not_lend_them_an_approval(world: World) -> None:
    olga = await world.user("olga", role=Role.OPERATOR)
    waiting = await world.launch(olga, EXPENSIVE)
    assert waiting.proposer == "an_agent"
    assert await refusal(world, waiting, principal(olga)) == "SELF_APPROVAL"


async def test_who_answered_the_goals_questions_cannot_approve_and_their_approval_counts_no_more(world: World) -> None:
    put(world, TWO_OPERATORS)
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    goal = await world.goal(user)
    waiting = await world.launch(user, spec("train"), goal=goal)
    first = await approve(world, waiting, olga)

    def answer(tx: Tx) -> None:
        audit.append(tx, agent_name=olga.email, action="goal.answered", reasoning="", outcome="done", goal_id=goal.id)

    await world.store.write(answer)
    second = await approve(world, first, otto)
    assert second.state is ActionState.AWAITING_APPROVAL
    assert [given.approver for given in second.approvals] == [otto.email]
    assert await refusal(world, second, olga) == "SELF_APPROVAL"


async def test_who_answered_the_goals_questions_cannot_approve_after_their_words_were_erased(world: World) -> None:
    put(world, TWO_OPERATORS)
    user, olga = await world.user(), await world.principal("olga")
    goal = await world.goal(user)
    waiting = await world.launch(user, spec("train"), goal=goal)

    def answer(tx: Tx) -> None:
        audit.append(
            tx, agent_name=olga.email, action="goal.answered", reasoning="", outcome="answered", goal_id=goal.id,
            user_id=olga.user_id,
        )  # fmt: skip
        audit.erase(tx, by="root@x", by_user_id="u9", reason="", user_id=olga.user_id)

    await world.store.write(answer)
    assert await refusal(world, waiting, olga) == "SELF_APPROVAL"


async def test_a_replayed_approval_changes_nothing(any_world: World) -> None:
    user, olga = await any_world.user(), await any_world.principal("olga")
    waiting = await any_world.launch(user, EXPENSIVE)
    done = await approve(any_world, waiting, olga)
    assert await approve(any_world, waiting, olga) == done
    assert await refusal(any_world, waiting, olga, hash_="0" * 64) == "ACTION_NOT_AWAITING"
    assert await refusal(any_world, waiting, await any_world.principal("otto")) == "ACTION_NOT_AWAITING"
    assert (await any_world.account(user)).reserved_usd == done.estimate_usd


async def test_an_approval_of_one_action_is_none_of_another(world: World) -> None:
    user, olga = await world.user(), await world.principal("olga")
    first, other = await world.launch(user, EXPENSIVE), await world.launch(user, replace(EXPENSIVE, name="other"))
    assert await refusal(world, other, olga, hash_=first.hash) == "ACTION_CHANGED"


async def test_what_too_few_people_approved_in_time_expires_and_says_so(world: World) -> None:
    put(world, TWO_OPERATORS)
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    first = await approve(world, await world.launch(user, spec("train")), olga)
    world.clock.advance(45 * 60)
    assert await refusal(world, first, otto) == "APPROVAL_EXPIRED"
    assert await world.store.write(world.governor.expire) == 1
    ended = await now(world, first)
    assert (ended.state, ended.outcome) == (ActionState.EXPIRED, "1 of 2 people approved it in time")


async def test_a_persons_proposal_is_carried_out_as_a_persons_after_an_approval(world: World) -> None:
    put(
        world,
        'rules:\n  - {id: look, when: action.kind == "cordon_node", then: require_approval, message: look}\n',
    )
    user, node = await world.user("ada", role=Role.OPERATOR), await world.node()
    waiting = await world.propose(CordonNode(node.id, "noisy"), user=user, person=True)
    assert waiting.is_person
    assert (await approve(world, waiting, await world.principal("olga"))).state is ActionState.DONE
    assert (await world.node_now(node)).cordoned
