import asyncio
import threading
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from control_plane.model.ids import GoalId, RunId, UserId
from control_plane.model.money import from_micros, to_micros
from control_plane.reasoning.contract import ModelReply, Purpose
from control_plane.reasoning.errors import ModelBudgetExceeded, ModelUnavailable
from control_plane.store import model_usage
from control_plane.store.database import Store, Tx
from control_plane.store.model_usage import Reservation, TooLittleLeft, UsageKey
from tests.control_plane.reasoning.conftest import SCHEMA, Bench, asked, endpoint
from tests.fake_clock import FakeClock
from tests.model_server import Answer, ModelServer, failure

ALICE, BOB = UserId("usr_alice"), UserId("usr_bob")
MILLION = Decimal(1_000_000)
PRICES = {"input_usd_per_million": Decimal(100), "output_usd_per_million": Decimal(1_000)}


@pytest.fixture
async def any_bench(store: Store, clock: FakeClock) -> AsyncIterator[Bench]:
    made = Bench(store, clock)
    yield made
    for engine in made.engines:
        await engine.close()


def of(user_id: UserId | None = ALICE) -> Purpose:
    return Purpose("tester", user_id=user_id, goal_id=GoalId("goal_1"), run_id=RunId("run_1"))


async def test_tokens_and_money_are_counted_by_tenant_goal_run_and_day(any_bench: Bench, server: ModelServer) -> None:
    engine = await any_bench.engine(endpoint(server, **PRICES), per_day=Decimal(10_000))
    reply = await engine.ask(asked(purpose=of()))
    assert reply.cost_usd == Decimal("0.007")  # who asks first does not pay for the probes
    probes = await any_bench.store.read(lambda tx: model_usage.of_tenant(tx, None))
    assert probes.calls == len(server.probes())
    reply = await engine.ask(asked(purpose=of()))
    assert (reply.input_tokens, reply.output_tokens, reply.cost_usd) == (20, 5, Decimal("0.007"))
    await engine.ask(asked(purpose=of(BOB)))
    for counted, calls in (
        (lambda tx: model_usage.of_tenant(tx, ALICE), 2),
        (lambda tx: model_usage.of_tenant(tx, BOB), 1),
        (lambda tx: model_usage.of_goal(tx, GoalId("goal_1")), 3),
        (lambda tx: model_usage.of_run(tx, RunId("run_1")), 3),
    ):
        usage = await any_bench.store.read(counted)
        assert (usage.calls, usage.tokens) == (calls, 25 * calls)
        assert from_micros(usage.cost_usd_micros) == Decimal("0.007") * calls
        assert usage.reserved_usd_micros == 0
    any_bench.clock.advance(86_400)
    assert (await any_bench.store.read(model_usage.of_day)).calls == 0


async def test_calls_at_once_never_cost_more_than_the_day_allows(any_bench: Bench, server: ModelServer) -> None:
    price = {"output_usd_per_million": MILLION}  # a dollar a token
    server.say = lambda body: server.spoken(body, "Good.", usage=(20, 3))
    free = await any_bench.engine(endpoint(server))
    await free.ask(asked())  # probes
    engine = await any_bench.engine(endpoint(server, **price), per_day=Decimal(20))
    asks = [engine.ask(asked(purpose=of(), output_tokens_max=5)) for _ in range(30)]
    done = await asyncio.gather(*asks, return_exceptions=True)
    replies = [one for one in done if isinstance(one, ModelReply)]
    assert {type(one) for one in done} <= {ModelReply, ModelBudgetExceeded}
    assert 1 <= len(replies) <= 6
    usage = await any_bench.store.read(lambda tx: model_usage.of_tenant(tx, ALICE))
    assert usage.cost_usd_micros == to_micros(Decimal(3)) * len(replies)
    assert usage.cost_usd_micros <= to_micros(Decimal(20))
    assert isinstance(await engine.ask(asked(purpose=of(BOB), output_tokens_max=5)), ModelReply)


async def test_the_worst_case_is_checked_before_a_call(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine(endpoint(server, **PRICES), per_day=Decimal(10_000))
    await engine.ask(asked())
    before = len(server.requests)
    with pytest.raises(ModelBudgetExceeded) as caught:
        await engine.ask(asked(output_tokens_max=100, cost_usd_max=Decimal("0.1")))
    assert len(server.requests) == before
    assert caught.value.cost_usd == 0
    assert (await engine.ask(asked(output_tokens_max=90, cost_usd_max=Decimal("0.1")))).cost_usd == Decimal("0.007")


async def test_a_dearer_endpoint_is_passed_over_for_one_that_the_money_is_enough_for(
    bench: Bench, server: ModelServer, other_server: ModelServer
) -> None:
    dear = endpoint(server, **PRICES)
    engine = await bench.engine(dear, endpoint(other_server, name="two"), per_day=Decimal(0))
    assert (await engine.ask(asked())).endpoint == "two"


async def test_a_call_that_may_have_been_made_costs_its_worst_case_and_one_that_was_refused_nothing(
    bench: Bench, server: ModelServer
) -> None:
    engine = await bench.engine(endpoint(server, **PRICES), per_day=Decimal(10_000))
    await engine.ask(asked())
    server.say = lambda _body: failure(503, "overloaded")
    with pytest.raises(ModelUnavailable) as caught:
        await engine.ask(asked())
    assert caught.value.cost_usd == 0
    bench.clock.advance(60)
    server.answers = [Answer(body=b'{"choi', cut=True)]
    with pytest.raises(ModelUnavailable) as caught:
        await engine.ask(asked(output_tokens_max=100))
    assert caught.value.cost_usd > Decimal("0.1")
    assert caught.value.output_tokens == 100


async def test_an_answer_that_a_proxy_has_lost_costs_its_worst_case(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine(endpoint(server, **PRICES), per_day=Decimal(10_000))
    await engine.ask(asked())
    server.say = lambda _body: failure(504, "upstream request timeout")
    with pytest.raises(ModelUnavailable) as caught:
        await engine.ask(asked(output_tokens_max=100))
    assert caught.value.cost_usd > Decimal("0.1")


async def test_what_a_control_plane_that_ended_had_set_aside_counts_as_spent(store: Store) -> None:
    key = UsageKey(ALICE, None, None, "tester", "m")
    limit = to_micros(Decimal(20))
    held = await store.write(lambda tx: model_usage.reserve(tx, key, limit - 5, per_day_usd_micros=limit))
    assert isinstance(held, Reservation)
    refused = await store.write(lambda tx: model_usage.reserve(tx, key, 6, per_day_usd_micros=limit))
    assert refused == TooLittleLeft(5)
    assert await store.write(model_usage.settle_all) == limit - 5
    usage = await store.read(lambda tx: model_usage.of_tenant(tx, ALICE))
    assert (usage.cost_usd_micros, usage.reserved_usd_micros) == (limit - 5, 0)
    free = await store.write(lambda tx: model_usage.reserve(tx, key, 0, per_day_usd_micros=0))
    assert isinstance(free, Reservation)


async def test_usage_is_kept_for_a_bounded_time(sqlite_store: Store, clock: FakeClock) -> None:
    key = UsageKey(ALICE, None, None, "tester", "m")
    await sqlite_store.write(lambda tx: model_usage.reserve(tx, key, 0, per_day_usd_micros=0))
    day = clock.now().date()
    clock.advance(86_400 * (model_usage.KEPT_DAYS + 1))
    reservation = Reservation(key, day.isoformat(), 0)
    await sqlite_store.write(
        lambda tx: model_usage.settle(tx, reservation, input_tokens=1, output_tokens=1, cost_usd_micros=1)
    )
    assert (await sqlite_store.read(lambda tx: model_usage.of_day(tx, day))).calls == 1
    await sqlite_store.write(model_usage.settle_all)
    assert (await sqlite_store.read(lambda tx: model_usage.of_day(tx, day))).calls == 0


async def test_who_goes_while_money_is_set_aside_leaves_none_set_aside(any_bench: Bench, server: ModelServer) -> None:
    engine = await any_bench.engine(endpoint(server, **PRICES), per_day=Decimal(10_000))
    await engine.ask(asked(purpose=of()))  # probes
    store, reached, go_on = any_bench.store, threading.Event(), threading.Event()

    def slow(_tx: Tx) -> None:
        reached.set()
        go_on.wait(30)

    busy = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(reached.wait, 30)
    calls = len(server.requests)
    asking = asyncio.create_task(engine.ask(asked(purpose=of())))
    while store._database.writer._writes.empty():  # noqa: ASYNC110 - until it waits for its money
        await asyncio.sleep(0)
    asking.cancel()
    go_on.set()
    await busy
    with pytest.raises(asyncio.CancelledError):
        await asking
    await store.write(lambda _tx: None)
    usage = await store.read(lambda tx: model_usage.of_tenant(tx, ALICE))
    assert (usage.reserved_usd_micros, usage.calls, len(server.requests)) == (0, 1, calls)


async def test_all_that_one_question_reads_stays_within_what_is_left(bench: Bench, server: ModelServer) -> None:
    engine = await bench.engine(endpoint(server, **PRICES), per_day=Decimal(10_000))
    await engine.ask(asked())
    server.say = lambda body: server.spoken(body, "no data at all", usage=(150, 3))
    before = len(server.requests)
    with pytest.raises(ModelBudgetExceeded) as caught:  # a repair would read as much again, and more
        await engine.ask(asked("word " * 100, schema=SCHEMA, input_tokens_max=450))
    assert len(server.requests) == before + 1
    assert caught.value.input_tokens == 150
