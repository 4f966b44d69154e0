"""What can be done about a failed job: nothing but what the table holds, and nothing beyond what was agreed."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.failures.facts import CAUSES
from control_plane.fleet.failures.signatures import SIGNATURES
from control_plane.fleet.remedies import TABLE, Failure, Remedy, Room, remedies
from control_plane.fleet.remedies_answers import Answer, as_answered, read_answer
from control_plane.fleet.remedies_memory import HostGpus
from control_plane.fleet.remedies_words import duration, sentence
from control_plane.model.diagnosis import Diagnosis, EvidenceItem, EvidenceKind, FaultDomain
from control_plane.model.job import JobSpec
from control_plane.model.run_replan import RemedyKind
from tests.control_plane.world import GB, spec

FLEET = (
    HostGpus("A10", 24 * GB, 4, 512 * GB),
    HostGpus("H100", 80 * GB, 8, 512 * GB),
    HostGpus("H200", 141 * GB, 8, 512 * GB),
)


def diagnosis(cause: str, *, fault: FaultDomain = FaultDomain.JOB, by: str = "rules") -> Diagnosis:
    evidence = (EvidenceItem("log:1", EvidenceKind.LOG, "a line"),)
    return Diagnosis(cause, "the job had a reason", "do something about it", fault, 0.9, evidence, diagnosed_by=by)


def failure(
    cause: str, one: JobSpec | None = None, *, fault: FaultDomain = FaultDomain.JOB, by: str = "rules"
) -> Failure:
    return Failure(
        one or spec(types=()), diagnosis(cause, fault=fault, by=by), gpu_type="H100", gpu_memory_bytes=80 * GB,
        used_seconds=600, last_seconds=600,
    )  # fmt: skip


ROOM = Room(replans_left=2, hosts=FLEET, host_memory_bytes=512 * GB)


def first(failed: Failure, room: Room = ROOM) -> Remedy:
    return remedies(failed, room)[0]


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("NETWORK_UNREACHABLE", RemedyKind.RETRY),
        ("NCCL_TIMEOUT", RemedyKind.RETRY),
        ("NODE_LOST", RemedyKind.RETRY),
        ("GPU_LOST", RemedyKind.RETRY),
        ("GPU_OUT_OF_MEMORY", RemedyKind.MORE_GPU_MEMORY),
        ("TIME_LIMIT", RemedyKind.ASK),
        ("ACCESS_DENIED", RemedyKind.ASK),
        ("UNKNOWN", RemedyKind.ASK),
        ("IMPORT_ERROR", RemedyKind.GIVE_UP),
        ("BAD_ARGUMENTS", RemedyKind.GIVE_UP),
        ("FILE_NOT_FOUND", RemedyKind.GIVE_UP),
        ("PROGRAM_FAILED", RemedyKind.GIVE_UP),
        ("EXCEPTION", RemedyKind.GIVE_UP),
        ("LOSS_NOT_FINITE", RemedyKind.GIVE_UP),
        ("CANCELLED", RemedyKind.GIVE_UP),
        ("SOMETHING_ELSE", RemedyKind.GIVE_UP),
    ],
)
def test_each_cause_has_its_first_remedy(cause: str, kind: RemedyKind) -> None:
    assert first(failure(cause)).kind is kind


def test_the_table_names_no_cause_that_nobody_finds() -> None:
    found = CAUSES | {one.cause for one in SIGNATURES} | {"UNKNOWN"}
    assert set(TABLE) <= found, set(TABLE) - found


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (FaultDomain.HARDWARE, RemedyKind.RETRY),
        (FaultDomain.PLATFORM, RemedyKind.RETRY),
        (FaultDomain.JOB, RemedyKind.GIVE_UP),
    ],
)  # fmt: skip
def test_a_fault_under_a_job_is_no_fault_of_the_job(fault: FaultDomain, kind: RemedyKind) -> None:
    assert first(failure("XID_79", fault=fault)).kind is kind
    assert first(failure("CUDA_DRIVER_MISMATCH", fault=FaultDomain.PLATFORM)).kind is RemedyKind.GIVE_UP


def test_more_gpu_memory_is_the_least_that_is_more_than_failed() -> None:
    found = first(failure("GPU_OUT_OF_MEMORY"))
    assert found.resources.min_gpu_memory_bytes == 141 * GB
    assert found.resources.gpu_types == ()
    assert "141 GB" in found.words


@pytest.mark.parametrize(
    "hosts",
    [
        FLEET[:2],
        (HostGpus("H100", 80 * GB, 8), HostGpus("H100b", 81 * GB, 8)),
        (HostGpus("H200", 141 * GB, 3),),
    ],
    ids=["none-larger", "hardly-larger", "too-few"],
)
def test_without_enough_larger_gpus_nothing_is_run_again(hosts: tuple[HostGpus, ...]) -> None:
    found = first(failure("GPU_OUT_OF_MEMORY", spec(gpu=4, types=())), replace(ROOM, hosts=hosts))
    assert found.kind is RemedyKind.GIVE_UP
    assert "do something about it" in found.words


def test_a_gang_over_hosts_finds_its_gpus_on_each() -> None:
    gang = spec(gpu=8, types=(), nodes=2)
    one, two = (HostGpus("H200", 141 * GB, 8),), (HostGpus("H200", 141 * GB, 4),) * 2
    assert first(failure("GPU_OUT_OF_MEMORY", gang), replace(ROOM, hosts=one)).kind is RemedyKind.GIVE_UP
    assert first(failure("GPU_OUT_OF_MEMORY", gang), replace(ROOM, hosts=two)).kind is RemedyKind.MORE_GPU_MEMORY


def test_of_named_models_those_too_small_are_left_out() -> None:
    found = first(failure("GPU_OUT_OF_MEMORY", spec(types=("A10", "H100", "H200"))))
    assert (found.kind, found.resources.gpu_types) == (RemedyKind.MORE_GPU_MEMORY, ("H200",))


def test_a_model_that_was_named_is_left_only_by_its_persons_word() -> None:
    failed = failure("GPU_OUT_OF_MEMORY", spec(types=("H100",)))
    found = first(failed)
    assert (found.kind, found.gpu_types) == (RemedyKind.ASK, ("H200",))
    assert "'H200'" in found.words
    after = as_answered(failed, ROOM, Answer(again=True, gpu_type="H200"))
    assert (after.kind, after.resources.gpu_types) == (RemedyKind.AS_ANSWERED, ("H200",))
    excluded = failure("GPU_OUT_OF_MEMORY", spec(types=("H100",), exclude_gpu_types=("H200",)))
    assert first(excluded).kind is RemedyKind.GIVE_UP


def test_a_part_of_a_gpu_is_not_made_larger() -> None:
    assert first(failure("GPU_OUT_OF_MEMORY", spec(types=(), gpu_milli=500))).kind is RemedyKind.GIVE_UP


def test_more_host_memory_only_where_the_job_had_a_limit() -> None:
    limited = first(failure("HOST_OUT_OF_MEMORY", spec(memory_bytes=64 * GB)))
    assert (limited.kind, limited.resources.memory_bytes) == (RemedyKind.MORE_HOST_MEMORY, 128 * GB)
    assert first(failure("HOST_OUT_OF_MEMORY")).kind is RemedyKind.GIVE_UP
    most = first(failure("HOST_OUT_OF_MEMORY", spec(memory_bytes=400 * GB)))
    assert most.resources.memory_bytes == 512 * GB
    assert first(failure("HOST_OUT_OF_MEMORY", spec(memory_bytes=500 * GB))).kind is RemedyKind.GIVE_UP


@pytest.mark.parametrize("cause", ["GPU_OUT_OF_MEMORY", "HOST_OUT_OF_MEMORY", "NCCL_TIMEOUT", "OTHER"])
def test_because_of_a_cause_that_a_model_found_a_person_is_asked_at_most(cause: str) -> None:
    failed = failure(cause, spec(types=(), memory_bytes=64 * GB), fault=FaultDomain.PROVIDER, by="some-model")
    asked, left = remedies(failed, ROOM)
    assert (asked.kind, left.kind) == (RemedyKind.ASK, RemedyKind.GIVE_UP)
    assert "some-model, a model, says: The job had a reason." in asked.words
    assert first(failure("IMPORT_ERROR", by="some-model")).kind is RemedyKind.GIVE_UP


def test_the_same_remedy_is_not_tried_twice() -> None:
    failed = failure("NCCL_TIMEOUT")
    tried = first(failed)
    room = replace(ROOM, tried=frozenset({("NCCL_TIMEOUT", tried.change)}))
    assert first(failed, room).kind is RemedyKind.GIVE_UP
    assert first(failure("NETWORK_UNREACHABLE"), room).kind is RemedyKind.RETRY
    asked = replace(ROOM, tried=frozenset({("TIME_LIMIT", RemedyKind.ASK.value)}))
    assert first(failure("TIME_LIMIT"), asked).kind is RemedyKind.GIVE_UP


def test_after_as_many_tries_as_allowed_a_limit_ends_it() -> None:
    found = first(failure("NCCL_TIMEOUT"), replace(ROOM, replans_left=0))
    assert (found.kind, found.by_limit) == (RemedyKind.GIVE_UP, True)
    assert "twice" in found.words
    assert not first(failure("IMPORT_ERROR"), replace(ROOM, replans_left=0)).by_limit


def test_where_a_person_has_stopped_jobs_nothing_is_run() -> None:
    (only,) = remedies(replace(failure("NCCL_TIMEOUT"), stopped=True), ROOM)
    assert only.kind is RemedyKind.GIVE_UP


def test_without_a_budget_all_tries_share_the_time_that_was_agreed() -> None:
    assert first(failure("NCCL_TIMEOUT")).max_runtime_seconds == 3000
    late = first(replace(failure("NCCL_TIMEOUT"), used_seconds=2400, last_seconds=2400))
    assert late.kind is RemedyKind.ASK
    assert "at most $" in late.words


def test_a_budget_holds_a_whole_try_or_what_is_left_of_the_time_or_none() -> None:
    failed = failure("NCCL_TIMEOUT", spec(types=("H100",)))
    assert first(failed, replace(ROOM, budget_left_usd=Decimal(4))).max_runtime_seconds == 3600
    assert first(failed, replace(ROOM, budget_left_usd=Decimal("3.40"))).max_runtime_seconds == 3000
    none = first(failed, replace(ROOM, budget_left_usd=Decimal(1)))
    assert (none.kind, none.by_limit) == (RemedyKind.GIVE_UP, True)
    assert "$1.00 is left" in none.words
    dependents = (spec("after", types=("H100",)),)
    assert first(failed, replace(ROOM, budget_left_usd=Decimal(4), dependents=dependents)).by_limit


def test_a_deadline_cuts_a_try_short_or_rules_it_out() -> None:
    failed = failure("NCCL_TIMEOUT")
    assert first(failed, replace(ROOM, deadline_seconds=1200)).max_runtime_seconds == 1200
    none = first(failed, replace(ROOM, deadline_seconds=300))
    assert (none.kind, none.by_limit) == (RemedyKind.GIVE_UP, True)
    assert "deadline" in none.words
    assert first(failure("TIME_LIMIT"), replace(ROOM, deadline_seconds=-1)).by_limit


@given(
    cause=st.sampled_from([*TABLE, "IMPORT_ERROR", "XID_48"]),
    fault=st.sampled_from(FaultDomain),
    by=st.sampled_from(["rules", "some-model"]),
    left=st.integers(0, 3),
    budget=st.none() | st.decimals(0, 50, places=2),
    deadline=st.none() | st.floats(-10, 10_000),
    types=st.sampled_from([(), ("H100",), ("A10", "H100")]),
)
def test_whatever_failed_a_remedy_keeps_what_was_agreed(
    cause: str,
    fault: FaultDomain,
    by: str,
    left: int,
    budget: Decimal | None,
    deadline: float | None,
    types: tuple[str, ...],
) -> None:
    failed = failure(cause, spec(types=types, memory_bytes=64 * GB), fault=fault, by=by)
    room = replace(ROOM, replans_left=left, budget_left_usd=budget, deadline_seconds=deadline)
    found = remedies(failed, room)
    assert RemedyKind.GIVE_UP in {one.kind for one in found} or left
    assert len({one.kind for one in found}) == len(found) >= 1
    for one in found:
        assert one.words
        if not one.kind.runs_again:
            continue
        assert left > 0
        assert by == "rules"
        assert set(one.resources.gpu_types) <= set(types)
        assert bool(one.resources.gpu_types) == bool(types)
        assert one.resources.gpu_count == failed.spec.resources.gpu_count
        assert 0 < one.max_runtime_seconds <= failed.spec.max_runtime_seconds
        if deadline is not None:
            assert one.max_runtime_seconds <= deadline


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("again", Answer(again=True)),
        (" 'Again.' ", Answer(again=True)),
        ("yes", Answer(again=True)),
        ("2 hours", Answer(again=True, seconds=7200)),
        ("for 1.5h", Answer(again=True, seconds=5400)),
        ("90 min", Answer(again=True, seconds=5400)),
        ("stop", Answer(again=False)),
        ("no", Answer(again=False)),
        ("perhaps", None),
        ("0 hours", None),
        ("999999 days", None),
        ("2 hours; rm -rf /", None),
        ("", None),
    ],
)
def test_an_answer_is_read_or_is_none(text: str, answer: Answer | None) -> None:
    assert read_answer(text, ()) == answer


def test_where_models_were_offered_an_answer_names_one_of_them() -> None:
    assert read_answer("h200", ("H200",)) == Answer(again=True, gpu_type="H200")
    assert read_answer("B200", ("H200",)) is None
    assert read_answer("again", ("H200",)) is None


def test_an_answer_goes_beyond_no_budget_and_no_deadline() -> None:
    failed = failure("TIME_LIMIT", spec(types=("H100",)))
    more = as_answered(failed, ROOM, Answer(again=True, seconds=7200))
    assert (more.kind, more.max_runtime_seconds) == (RemedyKind.AS_ANSWERED, 7200)
    poor = as_answered(failed, replace(ROOM, budget_left_usd=Decimal(5)), Answer(again=True, seconds=7200))
    assert (poor.kind, poor.by_limit) == (RemedyKind.GIVE_UP, True)
    cut = as_answered(failed, replace(ROOM, deadline_seconds=1000.5), Answer(again=True, seconds=7200))
    assert cut.max_runtime_seconds == 1000
    assert as_answered(failed, ROOM, Answer(again=False)).kind is RemedyKind.GIVE_UP
    assert as_answered(failed, replace(ROOM, replans_left=0), Answer(again=True)).by_limit


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("the job saw no GPU", "The job saw no GPU."),
        ("job:1 has ended", "job:1 has ended."),
        ("H100 is full.", "H100 is full."),
        ("ada@example.com stopped it", "ada@example.com stopped it."),
        ("  ", ""),
    ],
)
def test_a_text_becomes_a_sentence(text: str, after: str) -> None:
    assert sentence(text) == after


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (45, "45 seconds"), (3600, "1 hour"), (5400, "90 minutes"), (7200, "2 hours"),
     (8000, "2.2 hours"),
     (86_400, "1 day"), (0, "0 seconds"), (100, "100 seconds"), (200, "3 minutes")],
)  # fmt: skip
def test_a_time_is_told_in_whole_words(seconds: int, words: str) -> None:
    assert duration(seconds) == words
