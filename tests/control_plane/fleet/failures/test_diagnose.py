"""Why jobs failed: the root, with evidence, and not what it brought with it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.failures.case import FailureCase, HostCondition, LogLine
from control_plane.fleet.failures.diagnose import diagnose
from control_plane.fleet.failures.signatures import SIGNATURES
from control_plane.model.diagnosis import Diagnosis, FaultDomain
from control_plane.model.health import Condition, ConditionEvidence, ConditionScope, ConditionSeverity, EvidenceSource
from control_plane.model.ids import NODE, derived_id
from control_plane.model.job import AllocationState, ExitReason, JobState
from tests.control_plane.fleet.values import NOW, allocation, job, member


def case(
    *lines: str | tuple[int, str],
    exit_reason: ExitReason = ExitReason.EXITED,
    exit_code: int | None = 1,
    signal: int | None = None,
    ranks: int = 2,
    conditions: Sequence[HostCondition] = (),
) -> FailureCase:
    """A job of two ranks that failed on rank 0; a line without a rank is of rank 0."""
    members = [
        replace(
            member(rank),
            state=AllocationState.ENDED,
            exit_reason=exit_reason if rank == 0 else ExitReason.GANG_STOPPED,
            exit_code=exit_code if rank == 0 else None,
            signal=signal if rank == 0 else None,
            started_at=NOW,
            ended_at=NOW + timedelta(minutes=30),
        )
        for rank in range(ranks)
    ]
    attempt = replace(allocation(*members), state=AllocationState.ENDED, ended_at=NOW + timedelta(minutes=30))
    told = [(0, line) if isinstance(line, str) else line for line in lines]
    return FailureCase(
        replace(job(), state=JobState.FAILED, epoch=1, allocations=(attempt,)),
        attempt,
        tuple(
            LogLine(f"log:j/{rank}/{number}", rank, text, NOW + timedelta(seconds=number))
            for number, (rank, text) in enumerate(told)
        ),
        tuple(conditions),
    )


def condition(
    kind: str,
    code: int = 0,
    *,
    gpu_uuid: str = "GPU-node-0-0",
    severity: ConditionSeverity = ConditionSeverity.FATAL,
    minutes: float = 29,
    node: str = "node-0",
) -> HostCondition:
    """A condition of the host of rank 0, seen shortly before the end."""
    seen = NOW + timedelta(minutes=minutes)
    evidence = ConditionEvidence("ev-1", EvidenceSource.KERNEL, "NVRM: Xid (PCI:0000:17:00): 79", seen)
    one = Condition(
        id=f"{kind}-{code}",
        scope=ConditionScope.GPU if gpu_uuid else ConditionScope.HOST,
        subject=gpu_uuid,
        kind=kind,
        severity=severity,
        summary=f"{kind} {code}",
        first_seen_at=seen,
        last_seen_at=seen,
        code=code,
        gpu_uuid=gpu_uuid,
        evidence=(evidence,),
    )
    return HostCondition(f"condition:{derived_id(NODE, node)}/{one.id}", derived_id(NODE, node), node, one)


def cited(diagnosis: Diagnosis) -> list[str]:
    """Ids of what it rests on."""
    return [item.id for item in diagnosis.evidence]


TOLD = [
    ("GPU_OUT_OF_MEMORY", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79 GiB"),
    ("GPU_OUT_OF_MEMORY", "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying"),
    ("HOST_OUT_OF_MEMORY", "RuntimeError: [enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate"),
    ("SHARED_MEMORY_FULL", "RuntimeError: DataLoader worker is killed by signal: Bus error. out of shared memory."),
    ("DISK_FULL", "OSError: [Errno 28] No space left on device: '/ckpt/step-100.pt'"),
    ("READ_ONLY_FILE_SYSTEM", "OSError: [Errno 30] Read-only file system: '/data/out'"),
    ("GPU_UNCORRECTABLE_ECC", "RuntimeError: CUDA error: uncorrectable ECC error encountered"),
    ("GPU_LOST", "Unable to determine the device handle for GPU0000:17:00.0: GPU is lost."),
    ("NVLINK_ERROR", "RuntimeError: CUDA error: uncorrectable NVLink error detected during the execution"),
    ("CUDA_DRIVER_MISMATCH", "CUDA error: CUDA driver version is insufficient for CUDA runtime version"),
    ("GPU_ARCHITECTURE_UNSUPPORTED", "RuntimeError: CUDA error: no kernel image is available for execution on the"),
    ("NO_GPU_VISIBLE", "RuntimeError: No CUDA GPUs are available"),
    ("GPU_ILLEGAL_ACCESS", "RuntimeError: CUDA error: an illegal memory access was encountered"),
    ("IMPORT_ERROR", "ModuleNotFoundError: No module named 'flash_attn'"),
    ("IMPORT_ERROR", "python: error while loading shared libraries: libcudnn.so.9: cannot open shared object file"),
    ("COMMAND_NOT_FOUND", "bash: line 1: torchrun: command not found"),
    ("COMMAND_NOT_FOUND", "sh: 1: python: not found"),
    ("COMMAND_NOT_FOUND", "Error: crun: executable file `trane` not found in $PATH: No such file or directory: OCI"),
    ("FILE_NOT_FOUND", "python: can't open file '/work/train.py': [Errno 2] No such file or directory"),
    ("ACCESS_DENIED", "huggingface_hub.errors.GatedRepoError: 401 Client Error."),
    ("NETWORK_UNREACHABLE", "socket.gaierror: [Errno -3] Temporary failure in name resolution"),
    ("PORT_IN_USE", "RuntimeError: The server socket has failed to listen: EADDRINUSE, Address already in use"),
    ("LOSS_NOT_FINITE", "step 1200 loss is nan, stopping"),
    ("CHECKPOINT_INVALID", "RuntimeError: Error(s) in loading state_dict for Llama: size mismatch for lm_head"),
    ("BAD_ARGUMENTS", "train.py: error: unrecognized arguments: --lr-rate"),
    ("NCCL_TIMEOUT", "[rank0]: [E ProcessGroupNCCL.cpp:616] Watchdog caught collective operation timeout: WorkNCCL"),
    ("NCCL_ERROR", "torch.distributed.DistBackendError: NCCL error in: ncclUtils, ncclSystemError: System call failed"),
    ("EXCEPTION", "ValueError: too many values to unpack (expected 2)"),
]


@pytest.mark.parametrize(("cause", "line"), TOLD, ids=[str(number) for number in range(len(TOLD))])
def test_what_a_program_says_is_the_cause_and_is_cited(cause: str, line: str) -> None:
    found = diagnose(case("step 1", "Traceback (most recent call last):", line))

    assert found.cause == cause
    assert "log:j/0/2" in cited(found)
    assert found.advice


def test_every_cause_of_the_table_has_an_example() -> None:
    assert {one.cause for one in SIGNATURES} - {cause for cause, _ in TOLD} == {"PEER_DISCONNECTED", "CUDA_ERROR"}


def test_a_time_out_of_the_gang_is_explained_by_the_rank_that_failed_first() -> None:
    found = diagnose(
        case(
            (1, "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=17)"),
            (0, "torch.OutOfMemoryError: CUDA out of memory."),
            (1, "Connection reset by peer"),
        )
    )

    assert found.cause == "GPU_OUT_OF_MEMORY"
    assert cited(found)[0] == "log:j/0/1"


def test_a_lost_gpu_explains_what_the_program_wrote() -> None:
    found = diagnose(
        case(
            "RuntimeError: CUDA error: unspecified launch failure",
            (1, "Watchdog caught collective operation timeout"),
            conditions=[condition("XID", 79)],
        )
    )

    assert found.cause == "XID_79"
    assert found.fault is FaultDomain.HARDWARE
    assert cited(found)[0].startswith("condition:")


def test_a_fault_of_another_gpu_another_time_or_another_host_explains_nothing() -> None:
    others = [
        condition("XID", 79, gpu_uuid="GPU-node-0-7"),
        condition("XID", 79, minutes=-60),
        condition("XID", 79, minutes=45),
        condition("XID", 79, node="node-9"),
        condition("XID", 79, severity=ConditionSeverity.INFO),
    ]

    found = diagnose(case("ValueError: bad batch", conditions=others))

    assert found.cause == "EXCEPTION"


def test_an_xid_that_programs_cause_themselves_is_the_jobs_own_fault() -> None:
    found = diagnose(
        case(
            "RuntimeError: CUDA error: an illegal memory access was encountered",
            conditions=[condition("XID", 13, severity=ConditionSeverity.WARNING)],
        )
    )

    assert found.fault is FaultDomain.JOB
    assert {found.cause, *found.alternatives} == {"GPU_ILLEGAL_ACCESS", "XID_13"}


FACTS = [
    (ExitReason.OOM_KILLED, "HOST_OUT_OF_MEMORY", FaultDomain.JOB),
    (ExitReason.TIMED_OUT, "TIME_LIMIT", FaultDomain.JOB),
    (ExitReason.NODE_LOST, "NODE_LOST", FaultDomain.PLATFORM),
    (ExitReason.FENCED, "NODE_LOST", FaultDomain.PLATFORM),
    (ExitReason.SUPERVISOR_LOST, "HOST_FAULT", FaultDomain.PLATFORM),
    (ExitReason.START_FAILED, "START_FAILED", FaultDomain.JOB),
]


@pytest.mark.parametrize(("reason", "cause", "fault"), FACTS, ids=[reason.value for reason, _, _ in FACTS])
def test_what_the_host_reports_is_a_fact(reason: ExitReason, cause: str, fault: FaultDomain) -> None:
    found = diagnose(case(exit_reason=reason, exit_code=None))

    assert (found.cause, found.fault) == (cause, fault)
    assert cited(found) == [f"job:{case().job.id}/attempt/1/rank/0"]


def test_the_kernels_kill_comes_before_what_the_program_wrote() -> None:
    found = diagnose(case("ValueError: retrying", exit_reason=ExitReason.OOM_KILLED, exit_code=None))

    assert found.cause == "HOST_OUT_OF_MEMORY"


def test_a_crash_by_a_signal_is_told_as_one() -> None:
    assert diagnose(case(exit_reason=ExitReason.SIGNALED, exit_code=None, signal=11)).cause == "CRASH"
    assert diagnose(case(exit_reason=ExitReason.SIGNALED, exit_code=None, signal=9)).cause == "KILLED"


CODES = [(126, "ACCESS_DENIED"), (127, "COMMAND_NOT_FOUND"), (139, "CRASH"), (137, "KILLED"), (3, "PROGRAM_FAILED")]


@pytest.mark.parametrize(("exit_code", "cause"), CODES, ids=[str(code) for code, _ in CODES])
def test_an_exit_code_of_the_shell_tells_what_it_means(exit_code: int, cause: str) -> None:
    assert diagnose(case(exit_code=exit_code)).cause == cause


def test_a_person_who_stopped_it_is_the_cause() -> None:
    stopped = case("KeyboardInterrupt: ")
    stopped = replace(stopped, job=replace(stopped.job, state=JobState.CANCELLED, status_reason="ann stopped it"))

    assert diagnose(stopped).cause == "CANCELLED"


def test_a_job_that_nothing_is_known_of_has_an_unknown_cause_and_no_evidence() -> None:
    found = diagnose(case(exit_code=0, ranks=1))

    assert (found.cause, found.evidence, found.confidence) == ("UNKNOWN", (), 0.0)


def test_noise_of_a_good_run_is_no_cause() -> None:
    found = diagnose(case("epoch 1 loss 0.3", "saving checkpoint", "NCCL INFO Bootstrap : Using eth0:10.0.0.1<0>"))

    assert found.cause == "PROGRAM_FAILED"
    assert found.confidence < 0.5


def test_what_is_shown_of_a_line_is_printable_and_short() -> None:
    found = diagnose(case("CUDA out of memory \x1b[31m" + "A" * 5_000))

    assert len(found.summary) < 400
    assert "\x1b" not in found.summary
    assert all(len(item.text) <= 500 and item.text.isprintable() for item in found.evidence)


@given(st.lists(st.tuples(st.integers(0, 1), st.text(max_size=300)), max_size=20))
def test_no_output_breaks_a_diagnosis(lines: list[tuple[int, str]]) -> None:
    found = diagnose(case(*lines))

    assert found.evidence
    assert 0 <= found.confidence <= 1


def test_long_lines_that_nearly_match_everything_are_read_to_the_end() -> None:
    nearly = [
        "NCCL" * 500,
        "ProcessGroupNCCL" * 120,
        "Access to model " * 120,
        "bus error" * 200,
        "a." * 1000 + "Error",
    ]

    assert diagnose(case(*nearly * 20, "CUDA out of memory")).cause == "GPU_OUT_OF_MEMORY"


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED], ids=lambda one: one.value)
def test_a_job_that_has_not_failed_gets_no_cause(state: JobState) -> None:
    found = diagnose(FailureCase(replace(job(), state=state), None, (), ()))
    assert (found.cause, found.evidence) == ("NOT_FAILED", ())
    assert state.value in found.summary


def test_a_cause_is_not_told_twice() -> None:
    told = "exit code 127: the shell found no such command; check its name and PATH"
    failed = case(exit_code=127)
    assert failed.attempt is not None
    members = (replace(failed.attempt.members[0], message=told), *failed.attempt.members[1:])
    found = diagnose(replace(failed, attempt=replace(failed.attempt, members=members)))
    assert found.summary.count("found no such command") == 1
