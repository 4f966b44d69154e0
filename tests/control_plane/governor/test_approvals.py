"""Approvals: how many people, which, for what exactly, and for how long; everything looked at again at the end."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from control_plane.errors import OrQuantaError, PermissionDenied, PreconditionFailed
from control_plane.fleet.prices import DEFAULT_PRICES, PriceTable
from control_plane.governor.approvals import Decided
from control_plane.governor.governor import Governor
from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile
from control_plane.model.action import Action, ActionState, CordonNode
from control_plane.model.approval import Approval
from control_plane.model.goal import GoalState
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import ActionId
from control_plane.store import actions, approvals, audit, users
from control_plane.store.database import Tx
from control_plane.store.tables import ActionRow
from tests.control_plane.world import DEFAULTS, LIMITS, World, principal, spec

TWO_OPERATORS = """
rules:
  - id: two-people
    when: action.kind == "launch_jobs"
    then: require_approval
    message: two people must look at every launch
    approvals: {count: 2, from: [operator], ttl: 45m}
"""
AN_ADMIN = """
rules:
  - id: an-admin
    when: action.kind == "launch_jobs"
    then: require_approval
    message: an admin must look at every launch
    approvals: {count: 1, from: [admin]}
"""
EXPENSIVE = spec("train", gpu=8, seconds=3600 * 40)  # $1,276.80, above the limit of $1,000


def put(world: World, text: str) -> None:
    policies, faults = check([PolicyFile("approvals.yaml", text)])
    assert policies is not None, faults
    world.governor.policies.put(policies)


async def approve(world: World, action: Action, who: Principal, *, hash_: str = "") -> Action:
    return await world.governor.approve(action.id, approver=who, hash=hash_ or action.hash, reason="fits")


async def refusal(world: World, action: Action, who: Principal, *, hash_: str = "") -> str:
    with pytest.raises((PermissionDenied, PreconditionFailed)) as refused:
        await approve(world, action, who, hash_=hash_)
    return refused.value.reason


async def now(world: World, action: Action) -> Action:
    return await world.store.read(lambda tx: actions.require(tx, action.id))


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


async def test_an_approver_who_was_disabled_counts_no_more(any_world: World) -> None:
    put(any_world, TWO_OPERATORS)
    user, olga, otto = await any_world.user(), await any_world.principal("olga"), await any_world.principal("otto")
    waiting = await any_world.launch(user, spec("train"))
    first = await approve(any_world, waiting, olga)
    await any_world.store.write(lambda tx: users.update(tx, olga.user_id, disabled=True))
    second = await approve(any_world, first, otto)
    assert second.state is ActionState.AWAITING_APPROVAL
    assert "olga@example.com is disabled" in second.decision[-1]
    assert await any_world.maybe_job("train") is None
    assert await refusal(any_world, second, olga) == "ACCOUNT_DISABLED"
    third = await any_world.principal("ute")
    assert (await approve(any_world, second, third)).state is ActionState.DONE


async def test_an_approver_who_lost_the_role_counts_no_more(world: World) -> None:
    put(world, TWO_OPERATORS)
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    first = await approve(world, await world.launch(user, spec("train")), olga)
    await world.store.write(lambda tx: users.update(tx, olga.user_id, role=Role.USER))
    assert (await approve(world, first, otto)).state is ActionState.AWAITING_APPROVAL
    assert await refusal(world, first, olga) == "ROLE_TOO_LOW"


async def test_stricter_policies_ask_for_more_people_instead_of_denying(world: World) -> None:
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    waiting = await world.launch(user, EXPENSIVE)
    assert waiting.approval_need is not None
    assert waiting.approval_need.count == 1
    put(world, TWO_OPERATORS)
    first = await approve(world, waiting, olga)
    assert first.state is ActionState.AWAITING_APPROVAL
    assert first.approval_need is not None
    assert (first.approval_need.count, len(first.approvals)) == (2, 1)
    assert first.policy_version == world.governor.policies.current.version != waiting.policy_version
    assert (await approve(world, first, otto)).state is ActionState.DONE


async def test_policies_that_deny_by_now_end_it(world: World) -> None:
    user, olga = await world.user(), await world.principal("olga")
    waiting = await world.launch(user, EXPENSIVE)
    put(world, 'rules:\n  - {id: none, when: action.kind == "launch_jobs", then: deny, message: not now}\n')
    denied = await approve(world, waiting, olga)
    assert denied.state is ActionState.DENIED
    assert "not now" in denied.outcome


def dearer(world: World, usd_per_hour: str) -> None:
    """Start the control plane again with another price list."""
    prices = PriceTable(
        replace(price, usd_per_gpu_hour=Decimal(usd_per_hour)) if price.gpu_type == "H100" else price
        for price in DEFAULT_PRICES
    )
    world.governor = Governor(
        world.store, limits=LIMITS, defaults=DEFAULTS, prices=prices, policies=world.governor.policies
    )


async def test_an_estimate_that_rose_by_more_than_a_tenth_voids_what_was_approved(any_world: World) -> None:
    put(any_world, TWO_OPERATORS)
    user, olga, otto = await any_world.user(), await any_world.principal("olga"), await any_world.principal("otto")
    first = await approve(any_world, await any_world.launch(user, spec("train")), olga)
    dearer(any_world, "4.40")  # 3.99 * 1.10 = 4.389
    assert await refusal(any_world, first, otto) == "ESTIMATE_CHANGED"
    asked = await now(any_world, first)
    assert (asked.approvals, asked.estimate_usd) == ((), Decimal("4.40"))
    assert "$4.40" in asked.summary
    second = await approve(any_world, asked, otto)
    done = await approve(any_world, second, olga)
    assert done.state is ActionState.DONE
    assert [given.estimate_usd for given in done.approvals] == [Decimal("4.40")] * 2


async def test_an_estimate_that_rose_by_a_tenth_or_less_is_still_approved(world: World) -> None:
    put(world, TWO_OPERATORS)
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    first = await approve(world, await world.launch(user, spec("train")), olga)
    dearer(world, "4.38")
    assert (await approve(world, first, otto)).state is ActionState.DONE


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


async def test_arguments_changed_between_two_approvals_are_refused(world: World) -> None:
    put(world, TWO_OPERATORS)
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    first = await approve(world, await world.launch(user, spec("train")), olga)

    def tamper(tx: Tx) -> None:
        row = tx.session.get(ActionRow, first.id)
        assert row is not None
        row.arguments_json = row.arguments_json.replace('"gpu_count":1', '"gpu_count":64')

    await world.store.write(tamper)
    assert await refusal(world, first, otto) == "ACTION_CHANGED"
    assert await world.maybe_job("train") is None


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


async def left(world: World, action: Action, state: ActionState) -> None:
    """Leave an action as a process that died in the midst of deciding would, if it could."""

    def write(tx: Tx) -> None:
        row = tx.session.get(ActionRow, action.id)
        assert row is not None
        row.state = state.value

    await world.store.write(write)


@pytest.mark.parametrize("state", [ActionState.APPROVED, ActionState.EXECUTING])
async def test_what_was_left_approved_is_carried_out_once(any_world: World, state: ActionState) -> None:
    user, olga = await any_world.user(), await any_world.principal("olga")
    waiting = await any_world.launch(user, EXPENSIVE)
    given = Approval(
        olga.user_id, olga.email, waiting.hash, waiting.policy_version, waiting.estimate_usd, "", any_world.clock.now()
    )
    await any_world.store.write(lambda tx: approvals.put(tx, waiting.id, given))
    await left(any_world, waiting, state)
    assert await any_world.store.read(any_world.governor.approvals.has_left)
    assert await any_world.store.write(any_world.governor.approvals.resume) == 1
    assert await any_world.store.write(any_world.governor.approvals.resume) == 0
    assert (await now(any_world, waiting)).state is ActionState.DONE
    assert (await any_world.account(user)).reserved_usd == waiting.estimate_usd


async def test_what_was_left_approved_by_nobody_who_counts_waits_again(world: World) -> None:
    user = await world.user()
    waiting = await world.launch(user, EXPENSIVE)
    await left(world, waiting, ActionState.APPROVED)
    await world.store.write(world.governor.approvals.resume)
    assert (await now(world, waiting)).state is ActionState.AWAITING_APPROVAL
    assert await world.maybe_job("train") is None


async def test_what_was_left_approved_for_too_long_expires(world: World) -> None:
    waiting = await world.launch(await world.user(), EXPENSIVE)
    await left(world, waiting, ActionState.APPROVED)
    world.clock.advance(3600)
    await world.store.write(world.governor.approvals.resume)
    assert (await now(world, waiting)).state is ActionState.EXPIRED


@pytest.mark.parametrize("state", [ActionState.APPROVED, ActionState.EXECUTING])
async def test_what_was_left_and_changed_behind_the_hash_is_not_carried_out(world: World, state: ActionState) -> None:
    waiting = await world.launch(await world.user(), EXPENSIVE)

    def tamper(tx: Tx) -> None:
        row = tx.session.get(ActionRow, waiting.id)
        assert row is not None
        row.arguments_json = row.arguments_json.replace('"gpu_count":8', '"gpu_count":64')

    await world.store.write(tamper)
    await left(world, waiting, state)
    await world.store.write(world.governor.approvals.resume)
    assert (await now(world, waiting)).state in (ActionState.DENIED, ActionState.FAILED)
    assert await world.maybe_job("train") is None


async def test_a_decision_that_cannot_be_committed_leaves_neither_approval_nor_effect(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, olga = await any_world.user(), await any_world.principal("olga")
    waiting = await any_world.launch(user, EXPENSIVE)

    def crash(tx: Tx) -> Decided:
        any_world.governor.approvals.approve_in(tx, ActionId(waiting.id), olga, waiting.hash, "")
        raise RuntimeError("the process dies here")

    with pytest.raises(RuntimeError):
        await any_world.store.write(crash)
    after = await now(any_world, waiting)
    assert (after.state, after.approvals) == (ActionState.AWAITING_APPROVAL, ())
    assert await any_world.maybe_job("train") is None


async def test_fifty_goals_at_once_never_spend_more_than_one_budget(any_world: World) -> None:
    """Half of them wait for an approval first, and all of those are approved at once."""
    user, olga = await any_world.user(budget_usd=4000), await any_world.principal("olga")
    cheap = [spec(f"cheap-{index}", gpu=8, seconds=3600 * 10) for index in range(25)]  # $319.20 each
    dear = [spec(f"dear-{index}", gpu=8, seconds=3600 * 40) for index in range(25)]  # $1,276.80 each, approved
    goals = [await any_world.goal(user, f"goal {index}") for index in range(50)]
    proposed = await asyncio.gather(
        *(any_world.launch(user, one, goal=goal) for one, goal in zip([*cheap, *dear], goals, strict=True))
    )
    waiting = [action for action in proposed if action.state is ActionState.AWAITING_APPROVAL]
    await asyncio.gather(*(approve(any_world, action, olga) for action in waiting))
    account = await any_world.account(user)
    assert account.budget_usd is not None
    assert account.spent_usd + account.reserved_usd <= account.budget_usd
    ended = [await now(any_world, action) for action in proposed]
    done = [action for action in ended if action.state is ActionState.DONE]
    assert sum(action.estimate_usd for action in done) == account.reserved_usd
    assert {action.state for action in ended} == {ActionState.DONE, ActionState.DENIED}
    assert account.budget_usd - account.reserved_usd < Decimal("319.20")
