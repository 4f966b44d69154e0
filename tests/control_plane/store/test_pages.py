import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from control_plane.errors import InvalidArgument
from control_plane.model.account import User
from control_plane.model.goal import Goal
from control_plane.model.identity import Role
from control_plane.model.ids import new_user_id
from control_plane.model.record import AuditRecord
from control_plane.store import audit, goals, users
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.goals import GoalFilter
from control_plane.store.pages import Page, PageRequest, page_request
from tests.control_plane.world import World


async def goals_after(store: Store, token: str, size: int = 3) -> Page[Goal]:
    return await store.read(lambda tx: goals.page(tx, GoalFilter(), PageRequest(size, token)))


async def test_pages_hold_every_goal_once_newest_first_while_others_are_added(any_world: World) -> None:
    world = any_world
    user = await world.user()
    made = []
    for number in range(10):
        made.append((await world.goal(user, str(number))).text)
        if number % 3:
            world.clock.advance(0.000_001)
    page = await goals_after(world.store, "")
    seen = list(page.items)
    while page.next_token:
        world.clock.advance(1)
        await world.goal(user, "meanwhile")
        page = await goals_after(world.store, page.next_token)
        seen += page.items
    assert sorted(goal.text for goal in seen) == sorted(made)
    assert [goal.created_at for goal in seen] == sorted((goal.created_at for goal in seen), reverse=True)


@pytest.mark.parametrize(
    "when", [datetime(2038, 1, 19, 3, 14, 7, 999_999, UTC), datetime(2026, 12, 31, 23, 59, 59, 1, UTC)]
)
async def test_a_token_keeps_the_microsecond(any_world: World, when: datetime) -> None:
    world = any_world
    user = await world.user()
    world.clock.advance((when - world.clock.now()) / timedelta(seconds=1))
    for number in range(3):
        await world.goal(user, str(number))
        world.clock.advance(0.000_001)
    page = await goals_after(world.store, "", 1)
    texts = [page.items[0].text]
    while page.next_token:
        page = await goals_after(world.store, page.next_token, 1)
        texts += [goal.text for goal in page.items]
    assert texts == ["2", "1", "0"]


async def test_a_full_last_page_has_no_next_token(any_world: World) -> None:
    user = await any_world.user()
    for number in range(3):
        await any_world.goal(user, str(number))
    assert (await goals_after(any_world.store, "")).next_token == ""


async def test_users_and_audit_records_are_paged_by_their_own_keys(store: Store) -> None:
    def fill(tx: Tx) -> None:
        for name in "bac":
            users.insert(
                tx,
                User(new_user_id(), f"{name}@x", Role.USER, False, tx.now, None, Decimal(0), Decimal(0), None),
                "hash",
            )
            audit.append(tx, agent_name=name, action="x", reasoning="y", outcome="z")

    await store.write(fill)
    first = await store.read(lambda tx: users.page(tx, PageRequest(2)))
    second = await store.read(lambda tx: users.page(tx, PageRequest(2, first.next_token)))
    assert [user.email for user in first.items + second.items] == ["a@x", "b@x", "c@x"]
    one = await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest(2)))
    two = await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest(2, one.next_token)))
    records: tuple[AuditRecord, ...] = one.items + two.items
    assert [record.agent_name for record in records] == ["c", "a", "b"]


@pytest.mark.parametrize("size", [-1, 501, -(2**31)])
def test_an_impossible_page_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        page_request(size, "")
    assert refused.value.reason == "PAGE_SIZE_INVALID"


def test_no_page_size_means_the_default() -> None:
    assert page_request(0, "").size == 50


def forged(key: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        "garbage",
        "!",
        "\u00e9",
        forged({}),
        forged([]),
        forged(["x"]),
        forged([1]),
        forged([1, 2]),
        forged([True, "x"]),
        forged([1.5, "x"]),
        forged([10**30, "x"]),
        forged([-(10**30), "x"]),
        forged([1, "\0"]),
        forged([1, "x", "y"]),
    ],
)
async def test_a_token_of_another_list_or_a_forged_one_is_refused(store: Store, token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await store.read(lambda tx: goals.page(tx, GoalFilter(), page_request(0, token)))
    assert refused.value.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("token", [forged([1, "x"]), forged(["x"]), forged([2**70]), forged([None])])
async def test_a_token_of_another_list_is_refused_by_the_audit(store: Store, token: str) -> None:
    with pytest.raises(InvalidArgument):
        await store.read(lambda tx: audit.page(tx, AuditFilter(), page_request(0, token)))
