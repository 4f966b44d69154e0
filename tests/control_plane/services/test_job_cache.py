from control_plane.governor import books
from control_plane.model.ids import JobId, NodeId
from control_plane.model.job import AllocationState
from control_plane.model.record import Noun
from control_plane.model.report import MemberReport
from control_plane.services.job_cache import JobCache
from control_plane.store import jobs
from control_plane.store.database import Store, Tx
from control_plane.store.feed import EventFeed
from orquanta.v1 import job_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job

JOB = "j-0123456789ab"
ASK = job_pb2.GetJobRequest(job_id=JOB).SerializeToString()


async def emit(store: Store, noun: Noun, item_id: str) -> int:
    await store.write(lambda tx: tx.emit(noun, item_id, "test", ""))
    return store.changes.newest


async def test_an_answer_is_used_until_its_job_changes(sqlite_store: Store) -> None:
    feed = EventFeed(sqlite_store.changes, sqlite_store.read)  # one that is handed nothing, as among control planes
    cache = JobCache(feed)
    before = await emit(sqlite_store, Noun.JOB, JOB)
    await feed.catch_up()
    cache.store(JOB, b"first", before)
    assert cache.shortcut(ASK) == b"first"
    await emit(sqlite_store, Noun.JOB, "j-000000000000")
    assert cache.shortcut(ASK) is None  # memory does not know yet what changed
    assert await cache.current(JOB) == b"first"
    assert cache.shortcut(ASK) == b"first"
    await emit(sqlite_store, Noun.JOB, JOB)
    assert cache.shortcut(ASK) is None
    assert await cache.current(JOB) is None


async def test_an_answer_about_whose_job_nothing_was_said_is_used_at_once_after_another_change(
    sqlite_store: Store,
) -> None:
    cache = JobCache(sqlite_store.feed)
    cache.store(JOB, b"first", await emit(sqlite_store, Noun.JOB, JOB))
    await emit(sqlite_store, Noun.JOB, "j-000000000000")
    assert cache.shortcut(ASK) == b"first"
    await emit(sqlite_store, Noun.JOB, JOB)
    assert cache.shortcut(ASK) is None


async def test_an_answer_read_before_a_change_and_stored_after_it_is_not_used(sqlite_store: Store) -> None:
    cache = JobCache(sqlite_store.feed)
    before = await emit(sqlite_store, Noun.JOB, JOB)
    await emit(sqlite_store, Noun.JOB, JOB)
    cache.store(JOB, b"late", before)
    assert cache.shortcut(ASK) is None


async def test_an_answer_from_before_what_memory_reaches_is_not_used(sqlite_store: Store) -> None:
    before = await emit(sqlite_store, Noun.JOB, JOB)
    await emit(sqlite_store, Noun.AGENT, "scheduler_agent")
    cache = JobCache(EventFeed(sqlite_store.changes, sqlite_store.read))
    cache.store(JOB, b"old", before)
    assert cache.shortcut(ASK) is None


async def test_garbage_is_left_to_the_gate(sqlite_store: Store) -> None:
    assert JobCache(sqlite_store.feed).shortcut(b"\xff\xff") is None


async def test_what_is_kept_is_bounded_in_bytes(sqlite_store: Store) -> None:
    cache = JobCache(sqlite_store.feed)
    for number in range(40):
        cache.store(f"j-{number:012d}", bytes(1 << 20), 0)
    assert sum(len(answer.response) for answer in cache._answers.values()) <= 32 << 20
    assert cache._bytes == sum(len(answer.response) for answer in cache._answers.values())


async def test_every_change_of_a_member_is_seen_by_the_next_read(fleet: Fleet, user: Client) -> None:
    node = await fleet.node("host-1", gpus=2)
    job_id = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job.id
    request = job_pb2.GetJobRequest(job_id=job_id)
    await user.jobs.GetJob(request)
    await fleet.place(job_id, node, 1)
    for number, state in enumerate((AllocationState.STARTING, AllocationState.RUNNING, AllocationState.RUNNING)):

        def report(tx: Tx, number: int = number, state: AllocationState = state) -> None:
            (allocation,) = jobs.require(tx, JobId(job_id)).allocations
            told = MemberReport(
                allocation_id=allocation.id,
                job_id=JobId(job_id),
                epoch=1,
                rank=0,
                state=state,
                peak_memory_bytes=number * 1000,
                gpu_seconds=float(number),
            )
            books.apply_report(tx, NodeId(node.id), told)

        await user.jobs.GetJob(request)
        await fleet.store.write(report)
        truth = await fleet.store.read(lambda tx: jobs.require(tx, JobId(job_id)))
        seen = (await user.jobs.GetJob(request)).job.allocations[0].members[0]
        expected = truth.allocations[0].members[0]
        assert seen.peak_memory_bytes == expected.peak_memory_bytes
        assert job_pb2.AllocationState.Name(seen.state) == f"ALLOCATION_STATE_{expected.state.name}"
