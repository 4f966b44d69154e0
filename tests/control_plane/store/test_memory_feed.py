"""What has ended is followed by its event, so that no clock and no equal time hides any of it."""

from datetime import timedelta
from functools import partial

from control_plane.model.goal import Goal, GoalState
from control_plane.model.ids import GoalId
from control_plane.store import events, goals, memory_feed
from control_plane.store.database import Tx
from control_plane.store.memory_feed import GOALS, Batch, Cursor
from tests.control_plane.world import World

SETTLED = timedelta(seconds=30)


async def look(world: World, *, limit: int = 50) -> list[str]:
    """Return what has ended since the last look, as the keeper reads it."""
    found: list[str] = []
    while True:
        batch: Batch = await world.store.read(partial(memory_feed.ended, feed=GOALS, settled=SETTLED, limit=limit))
        found += batch.record_ids
        if batch.to is not None:
            await world.store.write(partial(memory_feed.move, name=GOALS.name, to=batch.to))
        if not batch.more:
            return found


async def ended_goals(world: World, *goals_made: Goal) -> list[str]:
    """End goals in one transaction, so all at the same time."""

    def end(tx: Tx) -> None:
        for goal in goals_made:
            goals.update(tx, goal.id, state=GoalState.CANCELLED)

    await world.store.write(end)
    return [goal.id for goal in goals_made]


async def follows(world: World) -> None:
    """Come to follow events: the first look looks for what was there before."""
    assert await look(world) == []
    cursor = await world.store.read(lambda tx: memory_feed.cursor(tx, GOALS.name))
    assert cursor.sequence is not None


async def test_records_of_one_time_are_all_found_however_they_are_cut_into_batches(any_world: World) -> None:
    world, user = any_world, await any_world.user()
    made = [await world.goal(user, f"goal {number}") for number in range(5)]
    await follows(world)
    expected = await ended_goals(world, *made)
    world.clock.advance(60)
    assert await look(world, limit=2) == expected
    assert await look(world) == []


async def test_a_record_of_the_same_time_that_comes_later_is_found_though_its_id_is_lower(world: World) -> None:
    user = await world.user()
    made = sorted([await world.goal(user, f"goal {number}") for number in range(3)], key=lambda goal: goal.id)
    await follows(world)
    await ended_goals(world, made[2])
    world.clock.advance(60)
    assert await look(world) == [made[2].id]
    world.clock.advance(-60)
    await ended_goals(world, made[0])
    world.clock.advance(60)
    assert await look(world) == [made[0].id]


async def test_a_clock_that_is_set_back_hides_nothing(any_world: World) -> None:
    world, user = any_world, await any_world.user()
    first, second, third = [await world.goal(user, f"goal {number}") for number in range(3)]
    await follows(world)
    await ended_goals(world, first)
    world.clock.advance(60)
    assert await look(world) == [first.id]
    await ended_goals(world, second)
    world.clock.advance(-7200)
    assert await look(world) == [second.id], "how long ago it ended nobody can tell, so nobody waits for that"
    await ended_goals(world, third)
    assert await look(world) == []
    world.clock.advance(60)
    assert await look(world) == [third.id]


async def test_what_has_only_just_ended_waits_and_keeps_what_follows_it_in_order(world: World) -> None:
    user = await world.user()
    made = [await world.goal(user, f"goal {number}") for number in range(3)]
    await follows(world)
    for goal in made:
        await ended_goals(world, goal)
        world.clock.advance(20)
    assert await look(world) == [made[0].id, made[1].id]
    world.clock.advance(20)
    assert await look(world) == [made[2].id]


async def test_what_ended_while_nobody_followed_is_found_though_its_events_were_pruned(any_world: World) -> None:
    world, user = any_world, await any_world.user()
    made = [await world.goal(user, f"goal {number}") for number in range(4)]
    await ended_goals(world, made[0])
    world.clock.advance(7200)
    assert await look(world) == [made[0].id], "before the first look ever"
    world.clock.advance(7200)
    await ended_goals(world, made[1], made[2])
    for number in range(3):
        await world.goal(user, f"more {number}")
    await world.store.write(lambda tx: events.prune(tx, keep=2))
    world.clock.advance(60)
    assert sorted(await look(world, limit=1)) == sorted([made[1].id, made[2].id])
    await ended_goals(world, made[3])
    world.clock.advance(60)
    assert await look(world) == [made[3].id]


async def test_a_cursor_that_an_earlier_version_left_goes_on_where_it_was(world: World) -> None:
    user = await world.user()
    made = [await world.goal(user, f"goal {number}") for number in range(2)]
    await ended_goals(world, made[0])
    left = Cursor(world.clock.now(), made[0].id)
    await world.store.write(lambda tx: memory_feed.move(tx, GOALS.name, left))
    world.clock.advance(1)
    await ended_goals(world, made[1])
    world.clock.advance(60)
    assert await look(world) == [GoalId(made[1].id)]
