"""Grants: approvals given beforehand, bounded in kind, person, pool, money, number and time."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest

from control_plane.errors import InvalidArgument, PermissionDenied
from control_plane.governor import grants as governor
from control_plane.governor.grants import Terms
from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile
from control_plane.model.action import ActionState, CordonNode, LaunchJobs, NewJob
from control_plane.model.approval import Grant
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GRANT, GrantId, derived_id
from control_plane.store import audit, grants, users
from control_plane.store.database import Tx
from tests.control_plane.world import World, job_id, spec

HOUR_OF_H100 = Decimal("3.99")
LAUNCHES = Terms(("launch_jobs",), None, "", Decimal(100), 10, timedelta(hours=8), "night shift")
LOOK = """
rules:
  - id: look
    when: action.kind in ["launch_jobs", "cordon_node"]
    then: require_approval
    message: look at it
"""
TWO = """
rules:
  - id: two
    when: action.kind == "launch_jobs"
    then: require_approval
    message: two people
    approvals: {count: 2, from: [operator]}
"""
_numbers = count()


def put(world: World, text: str) -> None:
    policies, faults = check([PolicyFile("grants.yaml", text)])
    assert policies is not None, faults
    world.governor.policies.put(policies)


async def give(world: World, giver: Principal, terms: Terms = LAUNCHES) -> Grant:
    grant_id = derived_id(GRANT, str(next(_numbers)))
    return await world.store.write(lambda tx: governor.give(tx, grant_id, giver, terms))


async def now(world: World, grant_id: GrantId) -> Grant:
    return await world.store.read(lambda tx: grants.require(tx, grant_id))


async def test_a_grant_approves_what_it_covers_at_once_and_says_so(any_world: World) -> None:
    put(any_world, LOOK)
    user, olga = await any_world.user(), await any_world.principal("olga")
    grant = await give(any_world, olga)
    done = await any_world.launch(user, spec("train"))
    assert (done.state, done.decided_by) == (ActionState.DONE, olga.email)
    assert [(given.approver, given.grant_id) for given in done.approvals] == [(olga.email, grant.id)]
    assert f"approved beforehand by {olga.email} ({grant.id}): night shift" in done.decision
    used = await now(any_world, grant.id)
    assert (used.uses, used.used_usd) == (1, HOUR_OF_H100)
    records = [record.action for record in await any_world.audit(action_id=done.id)]
    assert records == ["grant.used", "launch_jobs.done"]


async def test_fifty_at_once_never_overspend_a_grant(any_world: World) -> None:
    put(any_world, LOOK)
    user, olga = await any_world.user(), await any_world.principal("olga")
    grant = await give(any_world, olga, replace(LAUNCHES, budget_usd=Decimal(50), uses_max=1000))
    proposed = await asyncio.gather(*(any_world.launch(user, spec(f"job-{index}")) for index in range(50)))
    done = [action for action in proposed if action.state is ActionState.DONE]
    waiting = [action for action in proposed if action.state is ActionState.AWAITING_APPROVAL]
    used = await now(any_world, grant.id)
    assert (len(done), len(waiting), used.uses, used.used_usd) == (12, 38, 12, 12 * HOUR_OF_H100)
    assert (await any_world.account(user)).reserved_usd == used.used_usd <= used.budget_usd


async def test_fifty_at_once_never_use_a_grant_up_twice(any_world: World) -> None:
    put(any_world, LOOK)
    user, olga = await any_world.user(), await any_world.principal("olga")
    grant = await give(any_world, olga, replace(LAUNCHES, budget_usd=Decimal(1000), uses_max=7))
    proposed = await asyncio.gather(*(any_world.launch(user, spec(f"job-{index}")) for index in range(50)))
    assert [action.state for action in proposed].count(ActionState.DONE) == 7
    assert (await now(any_world, grant.id)).uses == 7


async def test_a_grant_is_one_approval_of_its_giver(world: World) -> None:
    put(world, TWO)
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    grant, _ = await give(world, olga), await give(world, olga)
    waiting = await world.launch(user, spec("train"))
    assert waiting.state is ActionState.AWAITING_APPROVAL
    own = await world.governor.approve(waiting.id, approver=olga, hash=waiting.hash, reason="")
    assert own.state is ActionState.AWAITING_APPROVAL  # she is one person, with or without a grant
    done = await world.governor.approve(waiting.id, approver=otto, hash=waiting.hash, reason="")
    assert done.state is ActionState.DONE
    assert (await now(world, grant.id)).uses == 0


async def test_grants_of_two_people_are_two_approvals(world: World) -> None:
    put(world, TWO)
    user = await world.user()
    await give(world, await world.principal("olga"))
    await give(world, await world.principal("otto"))
    done = await world.launch(user, spec("train"))
    assert done.state is ActionState.DONE
    assert len(done.approvals) == 2


async def test_a_grant_and_a_person_together_are_enough(any_world: World) -> None:
    put(any_world, TWO)
    user, olga, otto = await any_world.user(), await any_world.principal("olga"), await any_world.principal("otto")
    grant = await give(any_world, olga)
    waiting = await any_world.launch(user, spec("train"))
    assert (await now(any_world, grant.id)).uses == 0  # used when it is carried out, not before
    done = await any_world.governor.approve(waiting.id, approver=otto, hash=waiting.hash, reason="")
    assert done.state is ActionState.DONE
    assert {given.approver for given in done.approvals} == {olga.email, otto.email}
    assert (await now(any_world, grant.id)).uses == 1


async def test_nobodys_grant_covers_their_own_requests(world: World) -> None:
    put(world, LOOK)
    boss = await world.user("boss", role=Role.ADMIN)
    giver = Principal(boss.id, boss.email, boss.role, (await world.principal("x")).credential, "")
    await give(world, giver)
    assert (await world.launch(boss, spec("train"))).state is ActionState.AWAITING_APPROVAL
    with pytest.raises(PermissionDenied) as refused:
        await give(world, giver, replace(LAUNCHES, covered_user_id=boss.id))
    assert refused.value.reason == "SELF_APPROVAL"


async def test_a_grant_does_not_cover_the_goal_whose_questions_its_giver_answered(world: World) -> None:
    put(world, LOOK)
    user, olga = await world.user(), await world.principal("olga")
    goal = await world.goal(user)
    await give(world, olga)

    def answer(tx: Tx) -> None:
        audit.append(tx, agent_name=olga.email, action="goal.answered", reasoning="", outcome="done", goal_id=goal.id)

    await world.store.write(answer)
    assert (await world.launch(user, spec("train"), goal=goal)).state is ActionState.AWAITING_APPROVAL


async def test_a_revoked_grant_counts_no_more(any_world: World) -> None:
    put(any_world, TWO)
    user, olga, otto = await any_world.user(), await any_world.principal("olga"), await any_world.principal("otto")
    grant = await give(any_world, olga)
    waiting = await any_world.launch(user, spec("train"))
    taken = await any_world.store.write(lambda tx: governor.take_back(tx, grant.id, otto, "enough"))
    assert (taken.revoked_by, taken.revoked_at) == (otto.email, any_world.clock.now())
    after = await any_world.governor.approve(waiting.id, approver=otto, hash=waiting.hash, reason="")
    assert (after.state, len(after.approvals)) == (ActionState.AWAITING_APPROVAL, 1)
    assert await any_world.maybe_job("train") is None
    again = await any_world.store.write(lambda tx: governor.take_back(tx, grant.id, olga, "again"))
    assert again.revoked_by == otto.email
    records = [record.action for record in await any_world.audit(agent_name=otto.email)]
    assert records.count("grant.revoked") == 1


async def test_an_expired_grant_counts_no_more(world: World) -> None:
    put(world, LOOK)
    user = await world.user()
    await give(world, await world.principal("olga"))
    world.clock.advance(8 * 3600)
    assert (await world.launch(user, spec("train"))).state is ActionState.AWAITING_APPROVAL


@pytest.mark.parametrize("change", ["disabled", "demoted"])
async def test_a_grant_of_who_may_not_approve_any_more_counts_no_more(world: World, change: str) -> None:
    put(world, LOOK)
    user, olga = await world.user(), await world.principal("olga")
    await give(world, olga)
    if change == "disabled":
        await world.store.write(lambda tx: users.update(tx, olga.user_id, disabled=True))
    else:
        await world.store.write(lambda tx: users.update(tx, olga.user_id, role=Role.USER))
    assert (await world.launch(user, spec("train"))).state is ActionState.AWAITING_APPROVAL


async def test_a_grant_does_not_stand_for_somebody_whom_the_rule_does_not_name(world: World) -> None:
    put(world, f"{LOOK}    approvals: {{count: 1, from: [admin]}}\n")
    user = await world.user()
    await give(world, await world.principal("olga"))
    assert (await world.launch(user, spec("a"))).state is ActionState.AWAITING_APPROVAL
    await give(world, await world.principal("root", Role.ADMIN))
    assert (await world.launch(user, spec("b"))).state is ActionState.DONE


async def test_a_grant_covers_the_user_it_names_and_no_other(world: World) -> None:
    put(world, LOOK)
    ada, eve = await world.user("ada"), await world.user("eve")
    await give(world, await world.principal("olga"), replace(LAUNCHES, covered_user_id=ada.id))
    assert (await world.launch(ada, spec("a"))).state is ActionState.DONE
    assert (await world.launch(eve, spec("b"))).state is ActionState.AWAITING_APPROVAL


async def test_a_grant_covers_its_kinds_and_its_pool_only(world: World) -> None:
    put(world, LOOK)
    user = await world.user()
    gold = await world.node("gold-1", labels={"pool": "gold"})
    other = await world.node("other-1", labels={"pool": "silver"})
    terms = replace(LAUNCHES, kinds=("cordon_node", "drain_node"), pool="gold", budget_usd=Decimal(0))
    await give(world, await world.principal("olga"), terms)
    assert (await world.propose(CordonNode(gold.id, "noisy"))).state is ActionState.DONE
    assert (await world.propose(CordonNode(other.id, "noisy"))).state is ActionState.AWAITING_APPROVAL
    assert (await world.launch(user, spec("train"))).state is ActionState.AWAITING_APPROVAL


async def test_a_grant_for_a_pool_covers_nothing_that_is_about_no_node(world: World) -> None:
    put(world, LOOK)
    user = await world.user()
    await give(world, await world.principal("olga"), replace(LAUNCHES, pool="gold"))
    assert (await world.launch(user, spec("train"))).state is ActionState.AWAITING_APPROVAL


async def test_what_waits_already_is_not_covered_by_a_later_grant(world: World) -> None:
    put(world, TWO)
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    waiting = await world.launch(user, spec("train"))
    world.clock.advance(1)
    await give(world, olga)
    after = await world.governor.approve(waiting.id, approver=otto, hash=waiting.hash, reason="")
    assert after.state is ActionState.AWAITING_APPROVAL


async def test_a_grant_never_covers_a_run_that_read_strangers_words(world: World) -> None:
    put(world, LOOK)
    user, olga = await world.user(), await world.principal("olga")
    grant = await give(world, olga)
    effect = LaunchJobs((NewJob(job_id("train"), spec("train")),))
    tainted = replace(world.proposal(effect, user=user), tainted=True)
    waiting = await world.governor.propose(tainted)
    assert waiting.state is ActionState.AWAITING_APPROVAL
    assert (await now(world, grant.id)).uses == 0
    done = await world.governor.approve(waiting.id, approver=olga, hash=waiting.hash, reason="looked at it")
    assert done.state is ActionState.DONE


async def test_what_is_denied_uses_no_grant_up(world: World) -> None:
    put(world, LOOK)
    user, olga = await world.user(budget_usd=1), await world.principal("olga")
    grant = await give(world, olga)
    assert (await world.launch(user, spec("train"))).state is ActionState.DENIED
    assert (await now(world, grant.id)).uses == 0


async def test_a_grant_that_ends_first_is_used_first(world: World) -> None:
    put(world, LOOK)
    user, olga = await world.user(), await world.principal("olga")
    long, short = await give(world, olga), await give(world, olga, replace(LAUNCHES, lifetime=timedelta(hours=1)))
    await world.launch(user, spec("train"))
    assert ((await now(world, short.id)).uses, (await now(world, long.id)).uses) == (1, 0)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        pytest.param(replace(LAUNCHES, kinds=()), "KIND_UNKNOWN", id="no kind"),
        pytest.param(replace(LAUNCHES, kinds=("launch",)), "KIND_UNKNOWN", id="unknown kind"),
        pytest.param(replace(LAUNCHES, uses_max=0), "NUMBER_OUT_OF_RANGE", id="no use"),
        pytest.param(replace(LAUNCHES, uses_max=1001), "NUMBER_OUT_OF_RANGE", id="too many uses"),
        pytest.param(replace(LAUNCHES, budget_usd=Decimal(-1)), "NUMBER_OUT_OF_RANGE", id="negative"),
        pytest.param(replace(LAUNCHES, lifetime=timedelta(days=8)), "LIFETIME_OUT_OF_RANGE", id="too long"),
    ],
)
async def test_a_grant_without_bounds_is_not_given(world: World, terms: Terms, reason: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await give(world, await world.principal("olga"), terms)
    assert refused.value.reason == reason


async def test_agents_and_users_give_no_grants(world: World) -> None:
    olga, eve = await world.principal("olga"), await world.principal("eve", Role.USER)
    for giver, reason in ((replace(olga, for_agent=True), "AGENT_CREDENTIAL"), (eve, "ROLE_TOO_LOW")):
        with pytest.raises(PermissionDenied) as refused:
            await give(world, giver)
        assert refused.value.reason == reason


async def test_an_agents_own_proposal_is_covered_by_a_grant_for_everybody(world: World) -> None:
    put(world, LOOK)
    node = await world.node()
    await give(world, await world.principal("olga"), replace(LAUNCHES, kinds=("cordon_node",)))
    assert (await world.propose(CordonNode(node.id, "noisy"))).state is ActionState.DONE
