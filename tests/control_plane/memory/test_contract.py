"""What every store of memories does, whatever it is made of."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from control_plane.memory.contract import MemoryStore
from control_plane.model.ids import MemoryId
from control_plane.model.memory import Memory, MemoryAction, MemoryKind, MemoryOutcome, MemoryQuery
from tests.control_plane.memory.values import NOW, a_memory, memory_id

HOSTILE = (
    '"',
    '""',
    "'; DROP TABLE memories; --",
    "NEAR(a b) AND NOT * ^ : ( ) { } [ ]",
    'words : "x" OR',
    "xid:79) OR (1=1",
    "_ __ ___",
    "\0\0 \x1b[31m",
    "\ud800 broken",
    "- -- - AND",
    "ü日本語 🙂",
    "a" * 100_000,
    "col : * " * 2_000,
)


async def found(store: MemoryStore, text: str = "", **changes: object) -> list[MemoryId]:
    query = replace(MemoryQuery(text=text, limit=10), **changes)  # type: ignore[arg-type]  # of any field
    return [one.memory.id for one in await store.search(query, now=NOW)]


async def test_a_memory_comes_back_as_it_was_given(memories: MemoryStore) -> None:
    memory = a_memory("gpu-a-17", fixed_count=1, created_at=NOW + timedelta(microseconds=123456))
    kept = await memories.remember(memory)
    assert kept == memory
    assert await memories.get(memory.id) == memory
    assert await memories.get(memory_id("another")) is None


async def test_the_same_seen_again_adds_to_what_is_kept(memories: MemoryStore) -> None:
    first = await memories.remember(a_memory("one"))
    again = a_memory(
        "two",
        root_cause=first.root_cause,
        outcome=MemoryOutcome.FAILED,
        actions=tuple(replace(action, result=MemoryOutcome.FAILED) for action in first.actions),
        created_at=NOW + timedelta(days=1),
        expires_at=NOW + timedelta(days=91),
    )
    kept = await memories.remember(again)
    assert (kept.id, kept.count, kept.fixed_count) == (first.id, 2, 1)
    assert (kept.outcome, kept.actions, kept.text) == (MemoryOutcome.FAILED, again.actions, again.text)
    assert (kept.created_at, kept.expires_at, kept.source) == (again.created_at, again.expires_at, again.source)
    assert {"evidence-one", "evidence-two", "source-one"} <= set(kept.evidence_ids)
    assert await memories.get(first.id) == kept
    assert await memories.get(again.id) is None


async def test_a_run_that_is_written_twice_counts_once(memories: MemoryStore) -> None:
    first = await memories.remember(a_memory("one"))
    await memories.remember(a_memory("two", root_cause=first.root_cause))
    assert (await memories.remember(a_memory("one"))).count == 2
    assert (await memories.remember(a_memory("two", root_cause=first.root_cause))).count == 2


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tenant": "ana"}, id="tenant"),
        pytest.param({"kind": MemoryKind.RUNBOOK}, id="kind"),
        pytest.param({"symptoms": ("xid:48",)}, id="symptoms"),
        pytest.param({"root_cause": "other"}, id="cause"),
        pytest.param({"node_class": "4x A100"}, id="class"),
        pytest.param({"actions": (MemoryAction("reboot_host", MemoryOutcome.FIXED),)}, id="tools"),
    ],
)
async def test_what_differs_in_one_of_these_is_kept_apart(memories: MemoryStore, changes: dict[str, object]) -> None:
    first = await memories.remember(a_memory("one", root_cause="same"))
    kept = await memories.remember(a_memory("two", **{"root_cause": "same", **changes}))
    assert kept.id != first.id
    assert (await memories.status()).memories == 2


async def test_many_at_once_of_the_same_are_all_counted(memories: MemoryStore) -> None:
    same = [a_memory(f"run-{number}", root_cause="same") for number in range(20)]
    await asyncio.gather(*(memories.remember(memory) for memory in same))
    (kept,) = await memories.page(kind=None, limit=10, before=None)
    assert kept.count == 20


async def test_a_tenant_finds_its_own_and_the_fleets_alone(memories: MemoryStore) -> None:
    for tenant in ("", "ana", "ben"):
        await memories.remember(a_memory(f"gpu-of-{tenant or 'all'}", tenant=tenant))
    assert set(await found(memories, "GPU fell off the bus", tenant="ana")) == {
        memory_id("gpu-of-all"),
        memory_id("gpu-of-ana"),
    }
    assert await found(memories, "GPU fell off the bus") == [memory_id("gpu-of-all")]
    assert await found(memories, "GPU fell off the bus", tenant="nobody") == [memory_id("gpu-of-all")]


async def test_filters_come_before_nearness(memories: MemoryStore) -> None:
    await memories.remember(a_memory("a", symptoms=("xid:79", "fatal")))
    await memories.remember(a_memory("b", symptoms=("xid:48",)))
    await memories.remember(a_memory("c", symptoms=("xid:79",), kind=MemoryKind.RUNBOOK))
    await memories.remember(a_memory("d", symptoms=("xid:79",), gpu_type="A100"))
    await memories.remember(a_memory("e", symptoms=("xid:79",), gpu_type=""))
    text = "The GPU fell off the bus of b."
    assert set(await found(memories, text, symptoms=("xid:79", "other"))) == {memory_id(name) for name in "acde"}
    assert await found(memories, text, kinds=(MemoryKind.RUNBOOK,)) == [memory_id("c")]
    assert set(await found(memories, text, gpu_type="H100")) == {memory_id(name) for name in "abce"}
    assert set(await found(memories, "", gpu_type="A100", symptoms=("xid:79",))) == {memory_id("d"), memory_id("e")}


async def test_what_has_expired_is_not_found_and_goes(memories: MemoryStore) -> None:
    await memories.remember(a_memory("gone", expires_at=NOW))
    await memories.remember(a_memory("there", expires_at=NOW + timedelta(seconds=1)))
    assert await found(memories, "GPU fell off the bus") == [memory_id("there")]
    assert await found(memories) == [memory_id("there")]
    assert await memories.expire(NOW) == 1
    assert await memories.expire(NOW) == 0
    assert await memories.get(memory_id("gone")) is None
    assert (await memories.status()).memories == 1


async def test_an_exact_term_decides(memories: MemoryStore) -> None:
    text = "A graphics card reported an uncorrectable error and was reset without success."
    for number in (31, 48, 79, 94):
        await memories.remember(
            a_memory(f"n{number}", text=f"{text} Xid {number}.", symptoms=(f"xid:{number}",), root_cause="")
        )
    for number in (31, 48, 79, 94):
        (first, *_) = await found(memories, f"card reported xid:{number}, what helps?")
        assert first == memory_id(f"n{number}")
    await memories.remember(a_memory("host", text=f"{text} Seen on gpu-a-17."))
    assert (await found(memories, "gpu-a-17"))[0] == memory_id("host")


async def test_meaning_is_found_beyond_whole_words(memories: MemoryStore) -> None:
    await memories.remember(a_memory("a", text="NCCL collective timed out between ranks", root_cause="network"))
    await memories.remember(a_memory("b", text="disk quota exceeded when writing checkpoints", root_cause="storage"))
    assert (await found(memories, "collectives timeout networking"))[0] == memory_id("a")
    assert (await found(memories, "checkpointing quotas diskspace"))[0] == memory_id("b")


async def test_nothing_is_found_that_has_nothing_to_do_with_it(memories: MemoryStore) -> None:
    await memories.remember(a_memory("a"))
    assert await found(memories, "zebra quilt") == []


async def test_scores_lie_between_0_and_1_and_fall(memories: MemoryStore) -> None:
    for number in range(12):
        await memories.remember(a_memory(f"host-{number}"))
    scores = [one.score for one in await memories.search(MemoryQuery("GPU fell off the bus", limit=10), now=NOW)]
    assert len(scores) == 10
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


async def test_a_good_match_scores_far_above_a_poor_one(memories: MemoryStore) -> None:
    await memories.remember(a_memory("a", text="NCCL collective timed out between ranks", root_cause="network"))
    await memories.remember(a_memory("b", text="disk quota exceeded when writing checkpoints", root_cause="storage"))
    query = MemoryQuery("disk quota exceeded when writing checkpoints", limit=2)
    good, *poor = [one.score for one in await memories.search(query, now=NOW)]
    assert good > 0.75
    assert all(score < good / 2 for score in poor)


async def test_without_a_text_the_newest_come_first(memories: MemoryStore) -> None:
    for number in (2, 0, 1):
        await memories.remember(a_memory(f"m{number}", created_at=NOW - timedelta(hours=number)))
    assert await found(memories) == [memory_id("m0"), memory_id("m1"), memory_id("m2")]
    assert await found(memories, limit=1) == [memory_id("m0")]


async def test_what_is_found_counts_as_used(memories: MemoryStore) -> None:
    await memories.remember(a_memory("a"))
    later = NOW + timedelta(hours=1)
    (one,) = await memories.search(MemoryQuery("GPU fell off"), now=later)
    assert (one.memory.uses, one.memory.last_used_at) == (1, later)
    await memories.search(MemoryQuery("GPU fell off"), now=later)
    kept = await memories.get(memory_id("a"))
    assert kept is not None
    assert (kept.uses, kept.last_used_at) == (2, later)
    again = await memories.remember(a_memory("b", root_cause=kept.root_cause))
    assert (again.uses, again.last_used_at, again.count) == (2, later, 2)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
async def test_no_text_breaks_a_search_or_a_memory(memories: MemoryStore, number: int) -> None:
    await memories.remember(a_memory("a"))
    text = HOSTILE[number]
    await memories.search(MemoryQuery(text, tenant=text[:200], symptoms=(text[:200],)), now=NOW)
    await memories.search(MemoryQuery(text), now=NOW)
    kept = await memories.remember(
        a_memory("b", text=text, root_cause=text, symptoms=(text,), gpu_type=text, node_class=text, source=text)
    )
    assert kept.text.isprintable()
    assert len(kept.text) <= 2_000
    assert await memories.get(kept.id) == kept
    assert (await memories.status()).memories == 2


async def test_secrets_are_not_kept(memories: MemoryStore) -> None:
    secret = "sk-" + "a1B2c3D4" * 5
    kept = await memories.remember(a_memory("a", text=f"it said OPENAI_API_KEY={secret}", root_cause=f"key {secret}"))
    assert secret not in kept.text + kept.root_cause
    assert await memories.get(kept.id) == kept


async def test_pages_go_from_the_newest_to_the_oldest_once(memories: MemoryStore) -> None:
    made = [a_memory(f"m{number}", created_at=NOW + timedelta(hours=number // 2)) for number in range(7)]
    made[3] = replace(made[3], kind=MemoryKind.RUNBOOK)
    for memory in made:
        await memories.remember(memory)
    order = [one.id for one in sorted(made, key=lambda one: (one.created_at, one.id), reverse=True)]
    assert await paged(memories, None) == order
    assert await paged(memories, MemoryKind.RUNBOOK) == [made[3].id]


async def paged(store: MemoryStore, kind: MemoryKind | None) -> list[MemoryId]:
    ids: list[MemoryId] = []
    before: tuple[datetime, MemoryId] | None = None
    while page := await store.page(kind=kind, limit=3, before=before):
        ids += [memory.id for memory in page]
        before = (page[-1].created_at, page[-1].id)
    return ids


async def test_what_is_forgotten_is_nowhere_any_more(memories: MemoryStore) -> None:
    await memories.remember(a_memory("a"))
    assert await memories.forget(memory_id("a"))
    assert not await memories.forget(memory_id("a"))
    assert await memories.get(memory_id("a")) is None
    assert await found(memories, "GPU fell off the bus") == []
    assert await found(memories) == []


async def test_an_export_is_taken_in_as_it_was_and_only_once(memories: MemoryStore) -> None:
    for number in range(130):
        await memories.remember(a_memory(f"m{number}", created_at=NOW + timedelta(seconds=number % 50)))
    await memories.remember(a_memory("again", root_cause="cause of m7"))
    exported = [memory async for memory in memories.export()]
    assert len(exported) == 130
    assert [one.created_at for one in exported] == sorted(one.created_at for one in exported)
    for memory in exported:
        assert not await memories.take_in(memory)
    for memory in exported:
        await memories.forget(memory.id)
    taken = exported[:5]
    assert [await memories.take_in(memory) for memory in taken] == [True] * 5
    assert [await memories.get(memory.id) for memory in taken] == taken
    other = replace(taken[0], id=memory_id("another id"), count=9)
    assert not await memories.take_in(other), "it says the same"
    assert (await memories.status()).memories == 5


async def test_status_tells_what_there_is(memories: MemoryStore) -> None:
    await memories.remember(a_memory("a"))
    status = await memories.status()
    assert (status.embedder, status.dimensions) == ("hashed-ngrams-512-v1", 512)
    assert (status.memories, status.waiting, status.error) == (1, 0, "")
    assert await memories.reembed(at_most=10) == 0


def test_memory_has_the_fields_that_the_stores_keep() -> None:
    assert len(Memory.__slots__) == 18, "a field was added: both stores must keep it"
