"""Looks at what hosts and the control plane know themselves: how processes ended, and who stopped them."""

from collections.abc import Iterator

from control_plane.fleet.failures.case import FailureCase
from control_plane.fleet.failures.finding import Finding, Rank
from control_plane.fleet.progress import describe, first_failure
from control_plane.model.diagnosis import EvidenceItem, EvidenceKind, FaultDomain
from control_plane.model.job import Allocation, AllocationMember, ExitReason, JobState

_SIGKILL, _SIGSEGV, _SIGBUS, _SIGABRT, _SIGTERM = 9, 11, 7, 6, 15

_REASONS: dict[ExitReason, tuple[str, FaultDomain, str, str]] = {
    ExitReason.OOM_KILLED: (
        "HOST_OUT_OF_MEMORY",
        FaultDomain.JOB,
        "the kernel killed the job: it used more host memory than it may",
        "use fewer data loader workers or smaller buffers, or ask for more host memory",
    ),
    ExitReason.TIMED_OUT: (
        "TIME_LIMIT",
        FaultDomain.JOB,
        "the job reached its time limit",
        "give it more time, save checkpoints and go on from the last one, or use more GPUs",
    ),
    ExitReason.NODE_LOST: (
        "NODE_LOST",
        FaultDomain.PLATFORM,
        "a host of the job was lost",
        "nothing is wrong with the job; it is tried again as far as its attempts go",
    ),
    ExitReason.FENCED: (
        "NODE_LOST",
        FaultDomain.PLATFORM,
        "a host of the job was cut off and stopped it to be safe",
        "nothing is wrong with the job; it is tried again as far as its attempts go",
    ),
    ExitReason.SUPERVISOR_LOST: (
        "HOST_FAULT",
        FaultDomain.PLATFORM,
        "the host lost the process that watched the job",
        "nothing is wrong with the job; it is tried again as far as its attempts go",
    ),
    ExitReason.START_FAILED: (
        "START_FAILED",
        FaultDomain.JOB,
        "the job's program could not be started",
        "check the command and the image; the host's message says what was wrong",
    ),
}
_SIGNALS: dict[int, tuple[str, str, str]] = {
    _SIGSEGV: ("CRASH", "the program crashed (segmentation fault)", "look for a native library that does not fit"),
    _SIGBUS: ("SHARED_MEMORY_FULL", "the program crashed (bus error): often /dev/shm is full", "use fewer workers"),
    _SIGABRT: ("CRASH", "the program aborted itself", "read the end of its log"),
    _SIGKILL: ("KILLED", "something killed the program", "often the host ran out of memory, or a person killed it"),
    _SIGTERM: ("KILLED", "something asked the program to end", "look who stopped it: orquanta audit list --job"),
}

_NO_COMMAND = "the image has no such command"  # as hosts say it
_NOT_FOUND = 127
_SHELL_SIGNAL = 128  # a shell that waited for a killed program exits with this and the signal's number
_EXIT_CODES: dict[int, tuple[str, str, str]] = {
    126: ("ACCESS_DENIED", "the shell may not run the command", "make the file executable, or name an interpreter"),
    _NOT_FOUND: (
        "COMMAND_NOT_FOUND",
        "the shell found no such command",
        "check its name and PATH, or name an image that has it",
    ),
    **{_SHELL_SIGNAL + number: told for number, told in _SIGNALS.items()},
}

CAUSES: frozenset[str] = frozenset(
    (
        *(cause for cause, *_ in _REASONS.values()),
        *(cause for cause, *_ in _SIGNALS.values()),
        *(cause for cause, *_ in _EXIT_CODES.values()),
    )
)
"""Causes that hosts report, or that the way a process ended hints at."""


def facts(case: FailureCase) -> Iterator[Finding]:
    """Yield what the job's books say."""
    job, attempt = case.job, case.attempt
    if job.state is JobState.CANCELLED or job.cancel_requested:
        yield Finding(
            Rank.FACT,
            "CANCELLED",
            FaultDomain.PERSON,
            f"somebody stopped the job: {job.status_reason}",
            "run it again if it should go on",
            0.99,
            (EvidenceItem(f"job:{job.id}", EvidenceKind.JOB, job.status_reason[:500], job.finished_at),),
        )
    if attempt is None:
        if job.state is JobState.FAILED:
            yield Finding(
                Rank.FACT,
                "NEVER_STARTED",
                FaultDomain.UNKNOWN,
                f"the job never started: {job.status_reason}",
                "submit it again once that is settled",
                0.8,
                (EvidenceItem(f"job:{job.id}", EvidenceKind.JOB, job.status_reason[:500], job.finished_at),),
            )
        return
    member = first_failure(attempt)
    if member is not None:
        yield from _of_member(case, attempt, member)


def _of_member(case: FailureCase, attempt: Allocation, member: AllocationMember) -> Iterator[Finding]:
    told = describe(member)
    evidence = (
        EvidenceItem(
            f"job:{case.job.id}/attempt/{attempt.epoch}/rank/{member.rank}",
            EvidenceKind.JOB,
            told[:500],
            member.ended_at,
        ),
    )
    if member.exit_reason is ExitReason.START_FAILED and _NO_COMMAND in member.message:
        cause, _, advice = _EXIT_CODES[_NOT_FOUND]
        yield Finding(Rank.FACT, cause, FaultDomain.JOB, told, advice, 0.97, evidence, member.ended_at)
    elif member.exit_reason in _REASONS:
        cause, fault, summary, advice = _REASONS[member.exit_reason]
        text = f"{summary} ({told})"
        # A program that could not be started says itself what is missing.
        rank = Rank.HINT if member.exit_reason is ExitReason.START_FAILED and _says_more(case) else Rank.FACT
        yield Finding(rank, cause, fault, text, advice, 0.97, evidence, member.ended_at)
    elif member.signal in _SIGNALS:
        cause, summary, advice = _SIGNALS[member.signal]
        text = f"{summary} ({told})"
        yield Finding(Rank.HINT, cause, FaultDomain.JOB, text, advice, 0.6, evidence, member.ended_at)
    elif member.exit_code in _EXIT_CODES:
        cause, summary, advice = _EXIT_CODES[member.exit_code]
        text = told if summary in told else f"{summary} ({told})"
        yield Finding(Rank.HINT, cause, FaultDomain.JOB, text, advice, 0.7, evidence, member.ended_at)
    else:
        text = f"the program ended by itself ({told})"
        advice = "read what it wrote: orquanta job logs"
        yield Finding(Rank.HINT, "PROGRAM_FAILED", FaultDomain.JOB, text, advice, 0.4, evidence, None)


def _says_more(case: FailureCase) -> bool:
    return bool(case.lines)
