"""What was spent, and what is left."""

from decimal import Decimal

from control_plane.model.identity import Role
from control_plane.model.team import Team
from control_plane.model.tool import ToolStatus
from control_plane.store import spending, teams, users
from control_plane.store.database import Store
from control_plane.store.spending import SpendingFilter, SpendingKey
from tests.control_plane.tools.bench import Bench
from tests.control_plane.world import World, spec


async def spend(world: World, name: str, who: str, *, hours: float, gpu: int = 1, team: str = "") -> None:
    """Have somebody run a job on H100s, at 3.99 dollars an hour each."""
    user = await world.user(who)
    await world.store.write(lambda tx: users.set_team(tx, user.id, team))
    node = await world.node(f"host-{name}", gpu=gpu)
    await world.launch(user, spec(name, gpu=gpu, seconds=int(hours * 3600)))
    await world.place(name, (node, range(gpu)))
    await world.finish(name, gpu_seconds=hours * 3600 * gpu)


async def test_what_did_a_team_spend(bench: Bench) -> None:
    await spend(bench.world, "one", "ada.vision", hours=1)
    await spend(bench.world, "two", "bob.vision", hours=2)
    await spend(bench.world, "three", "cyd.speech", hours=4)
    data = await bench.data("costs", who="vision", role=Role.VIEWER)
    assert data["total_usd"] == "11.97"
    assert data["people"] == ["ada.vision@example.com", "bob.vision@example.com"]
    assert [(line["key"], line["cost_usd"], line["gpu_hours"]) for line in data["lines"]] == [
        ("bob.vision@example.com", "7.98", 2.0),
        ("ada.vision@example.com", "3.99", 1.0),
    ]
    assert (await bench.data("costs"))["total_usd"] == "27.93"
    assert (await bench.call("costs", who="me")).status is ToolStatus.NO_DATA
    assert (await bench.call("costs", who="%")).status is ToolStatus.NO_DATA


async def test_a_team_is_told_with_the_teams_in_it_and_an_unknown_one_with_those_there_are(bench: Bench) -> None:
    for path in ("research", "research/nlp", "research/vision", "vision", "speech/nlp"):
        await bench.world.store.write(lambda tx, path=path: teams.put(tx, Team(path)))  # type: ignore[misc] # a default binds the loop's value
    for name, team, hours in (("a", "research", 1), ("b", "research/nlp", 2), ("c", "vision", 4), ("d", "", 8)):
        await spend(bench.world, name, name, hours=hours, team=team)
    told = await bench.data("costs", team="research", by="team", role=Role.VIEWER)
    assert (told["team"], told["total_usd"]) == ("research", "11.97")
    assert told["people"] == ["a@example.com", "b@example.com"]
    assert {line["key"]: line["cost_usd"] for line in told["lines"]} == {"research/nlp": "7.98", "research": "3.99"}
    everybody = await bench.data("costs", by="team")
    assert [line["key"] for line in everybody["lines"]] == ["", "vision", "research/nlp", "research"]
    assert (await bench.data("costs", team="Vision"))["team"] == "vision"  # its whole path, not the end of another's
    unknown = await bench.call("costs", team="spech")
    assert unknown.error_code == "TEAM_NOT_FOUND"
    assert "there are research, research/nlp, research/vision, speech/nlp, vision" in unknown.error
    ambiguous = await bench.call("costs", team="nlp")
    assert (ambiguous.error_code, "research/nlp, speech/nlp" in ambiguous.error) == ("TEAM_AMBIGUOUS", True)


async def test_spending_adds_up_alike_by_everything_on_each_database(any_world: World, store: Store) -> None:
    since = any_world.clock.now()
    await spend(any_world, "one", "ada", hours=1, gpu=2)
    any_world.clock.advance(36 * 3600)
    await spend(any_world, "two", "bob", hours=1)
    for key, expected in {
        SpendingKey.USER: ["ada@example.com", "bob@example.com"],
        SpendingKey.GPU_TYPE: ["H100"],
        SpendingKey.DAY: ["2026-05-06", "2026-05-04"],
        SpendingKey.GOAL: [""],
    }.items():
        found = await store.read(lambda tx, key=key: spending.by(tx, key, SpendingFilter(since), limit=10))  # type: ignore[misc] # a default binds the loop's value
        assert [one.key for one in found] == expected
        assert sum(one.cost_usd for one in found) == Decimal("11.97")
        assert sum(one.attempts for one in found) == 2
    later = SpendingFilter(any_world.clock.now())
    assert await store.read(lambda tx: spending.total_usd(tx, later)) == Decimal("3.99")


async def test_a_budget_is_ones_own_unless_one_is_an_admin(bench: Bench) -> None:
    ada = await bench.world.user("ada", budget_usd=100)
    await bench.world.launch(ada, spec("train"))
    mine = await bench.data("budget_left", role=Role.VIEWER)
    assert (mine["whose"], mine["left_usd"]) == ("viewer@example.com", None)
    refused = await bench.call("budget_left", role=Role.OPERATOR, user=ada.email)
    assert refused.error_code == "ROLE_TOO_LOW"
    hers = await bench.data("budget_left", role=Role.ADMIN, user=ada.email)
    assert (hers["budget_usd"], hers["reserved_usd"], hers["left_usd"]) == ("100", "3.99", "96.01")


async def test_a_goals_budget_and_words_are_told(bench: Bench) -> None:
    ada = await bench.account("ada")
    goal = await bench.world.goal(ada, "train it \x1b[31mwell")
    await bench.world.launch(ada, spec("train"), goal=goal)
    budget = await bench.data("budget_left", goal=goal.id)
    assert (budget["whose"], budget["reserved_usd"]) == (goal.id, "3.99")
    listed = await bench.call("list_goals", user=ada.email)
    assert listed.untrusted
    assert [one["text"] for one in listed.data["goals"]] == ["train it well"]
    whole = await bench.data("get_goal", goal=goal.id)
    assert [job["name"] for job in whole["jobs"]] == ["train"]


async def test_prices_are_listed(bench: Bench) -> None:
    data = await bench.data("prices")
    assert {"gpu_type": "H100", "usd_per_gpu_hour": "3.99"}.items() <= next(
        price for price in data["prices"] if price["gpu_type"] == "H100"
    ).items()
