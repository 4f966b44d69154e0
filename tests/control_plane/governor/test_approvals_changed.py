"""What changed between the request and the approval: policies, prices, arguments, and the people themselves."""

from dataclasses import replace
from decimal import Decimal

from control_plane.fleet.prices import DEFAULT_PRICES, PriceTable
from control_plane.governor.governor import Governor
from control_plane.model.action import ActionState
from control_plane.model.identity import Role
from control_plane.store import users
from control_plane.store.database import Tx
from control_plane.store.tables import ActionRow
from tests.control_plane.governor.approving import EXPENSIVE, TWO_OPERATORS, approve, now, put, refusal
from tests.control_plane.world import DEFAULTS, LIMITS, World, spec


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


async def test_arguments_changed_between_two_approvals_are_refused(world: World) -> None:
    put(world, TWO_OPERATORS)
    user, olga, otto = await world.user(), await world.principal("olga"), await world.principal("otto")
    first = await approve(world, await world.launch(user, spec("train")), olga)

    def tamper(tx: Tx) -> None:
        row = tx.session.get(ActionRow, first.id)
        assert row is not None
        tx.change(row, {"arguments_json": row.arguments_json.replace('"gpu_count":1', '"gpu_count":64')})

    await world.store.write(tamper)
    assert await refusal(world, first, otto) == "ACTION_CHANGED"
    assert await world.maybe_job("train") is None
