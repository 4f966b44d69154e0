"""Faults of applications: is it the program, or the GPU on which it happens to run?

After workflows 13 and 31 of NVIDIA's Xid Catalog: repeats on one GPU point to the GPU, faults on different GPUs to the
application. What counts are different jobs, since one program can fault as often as it likes.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from node_agent.health.findings import Finding, Sighting, name
from node_agent.health.host import Host
from node_agent.health.model import Authority, Change, Rung, Scope, Severity
from node_agent.health.windows import Recent, Times

MAXIMUM_HOLDERS: Final = 256
"""Jobs and processes whose faults are remembered: the newest. All are weighed with each that is not yet known."""
MAXIMUM_GPUS_OF_HOLDER: Final = 16
MAXIMUM_RUNS: Final = 1024
"""Pairs of a GPU and a job or process on it that are remembered."""


@dataclass(slots=True)
class _Holder:
    """A program, and the GPUs on which it faulted."""

    program: str
    """What tells programs apart: a job's id, or the name of a process outside jobs."""
    gpus: dict[str, float] = field(default_factory=dict)
    """When it last faulted on which GPU."""


class Applications:
    """Remembers which job or process faulted on which GPU."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._holders: Recent[str, _Holder] = Recent(MAXIMUM_HOLDERS)
        self._runs: Recent[tuple[str, str], float] = Recent(MAXIMUM_RUNS)
        """When which job or process was last known on which GPU."""
        self._going_on: Recent[tuple[str, int], Times] = Recent(4 * MAXIMUM_HOLDERS)

    def note_run(self, gpu: str, job_id: str, now: float) -> None:
        """Note that a job runs on a GPU: those that do not fault are what the others are measured by."""
        self._runs.set((gpu, f"job {job_id}"), now)

    def forgive(self, gpu: str) -> None:
        """Forget what speaks against a GPU, after a repair or an operator cleared it."""
        for key, holder in self._holders.items():
            if gpu in holder.gpus:
                del holder.gpus[gpu]
                if not holder.gpus:
                    self._holders.pop(key)

    def fault(self, gpu: str, pid: int | None, process: str, sighting: Sighting, now: float) -> list[Change]:
        """Note a fault of an application on a GPU; raise what follows from all that is remembered."""
        key, program, job_id = self._whose(gpu, pid, process)
        self._runs.set((gpu, key), now)
        holder = self._holders.get(key)
        known = holder is not None and gpu in holder.gpus
        holder = self._holders.set(key, holder or _Holder(program))
        holder.gpus[gpu] = now
        if len(holder.gpus) > MAXIMUM_GPUS_OF_HOLDER:
            del holder.gpus[next(iter(holder.gpus))]
        changes = self._goes_on(gpu, pid, sighting, now)
        if known:
            return changes
        if len(holder.gpus) > 1:
            changes += self._fault_of_job(job_id or program, sighting, now)
            for other in tuple(holder.gpus):
                changes += self._judge(other, sighting, now)
            return changes
        return changes + self._judge(gpu, sighting, now)

    def _whose(self, gpu: str, pid: int | None, process: str) -> tuple[str, str, str]:
        """Return the holder, its program and its job, if any."""
        job = self._host.holders.get(gpu)
        if job is not None and (pid is None or not job.process_ids or pid in job.process_ids):
            return f"job {job.job_id}", f"job {job.job_id}", job.job_id
        if pid is not None:
            for other in self._host.holders.values():
                if pid in other.process_ids:
                    return f"job {other.job_id}", f"job {other.job_id}", other.job_id
        program = f"program {name(process)}"
        return (program if pid is None else f"process {pid}"), program, ""

    def _judge(self, gpu: str, sighting: Sighting, now: float) -> list[Change]:
        """Weigh what happened on one GPU alone against what happened on the others alone."""
        rules = self._host.rules
        here, programs, everywhere = 0, set[str](), 0
        for key, holder in self._holders.items():
            recent = [where for where, at in holder.gpus.items() if now - at <= rules.application_window_seconds]
            if not recent:
                self._holders.pop(key)
            elif len(recent) == 1:
                everywhere += 1
                if recent[0] == gpu:
                    here += 1
                    programs.add(holder.program)
        present = max(1, self._host.present())
        likely = chance(here, everywhere, present)
        condition_id = f"gpu/{gpu}/suspect"
        if (
            len(programs) >= rules.suspect_fatal_holders
            and self._chance_of_all_runs(gpu, len(programs), everywhere, now) <= rules.suspect_fatal_chance
        ):
            return self._suspect(gpu, Severity.FATAL, sighting, now)
        alone = present == 1 and here >= rules.suspect_alone_holders
        if alone or (here >= rules.suspect_warning_holders and likely <= rules.suspect_warning_chance):
            return self._suspect(gpu, Severity.WARNING, sighting, now)
        track = self._host.book.get(condition_id)
        if track is not None and track.finding.severity is Severity.WARNING:
            return self._host.book.clear(condition_id, track.last_seen_at, "applications fault on other GPUs as well")
        return []

    def _chance_of_all_runs(self, gpu: str, here: int, everywhere: int, now: float) -> float:
        """Return how likely so many of all runs that faulted are of this GPU, by blind chance.

        A GPU on which many short jobs run has many faults: what counts is how many of its jobs fault, against the
        jobs on the others (Fisher's exact test, times the number of GPUs).
        """
        window = self._host.rules.application_window_seconds
        runs = [where for (where, _), at in self._runs.items() if now - at <= window]
        return min(1.0, max(1, self._host.present()) * hypergeometric(here, runs.count(gpu), everywhere, len(runs)))

    def _suspect(self, gpu: str, severity: Severity, sighting: Sighting, now: float) -> list[Change]:
        fatal = severity is Severity.FATAL
        several = "Many" if fatal else "Several"
        finding = Finding(
            id=f"gpu/{gpu}/suspect",
            scope=Scope.GPU,
            subject=gpu,
            kind="GPU_SUSPECT",
            severity=severity,
            summary=f"{several} different applications fault on this GPU and on no other",
            gpu_uuid=gpu if gpu in self._host.gpus else "",
            repair=Rung.VERIFY if fatal else None,
            authority=Authority.RULE if fatal else None,
            sticky=fatal,
            clear_after_seconds=None if fatal else self._host.rules.application_window_seconds,
            cured_by_boot=False,
        )
        return self._host.book.see(finding, sighting, now)

    def _fault_of_job(self, who: str, sighting: Sighting, now: float) -> list[Change]:
        finding = Finding(
            id=f"host/application/{name(who)}",
            scope=Scope.HOST,
            subject=name(who),
            kind="APPLICATION_FAULT",
            severity=Severity.INFO,
            summary="An application faults on several GPUs: the fault moves with it",
            clear_after_seconds=self._host.rules.info_clear_seconds,
        )
        return self._host.book.see(finding, sighting, now)

    def _goes_on(self, gpu: str, pid: int | None, sighting: Sighting, now: float) -> list[Change]:
        if pid is None:
            return []
        rules = self._host.rules
        times = self._going_on.get((gpu, pid)) or Times(2 * rules.goes_on_count)
        self._going_on.set((gpu, pid), times)
        count = times.add(now, rules.goes_on_window_seconds)
        if count < rules.goes_on_count or times.span_seconds < rules.goes_on_for_seconds:
            return []
        finding = Finding(
            id=f"gpu/{gpu}/process-faults",
            scope=Scope.GPU,
            subject=gpu,
            kind="PROCESS_FAULTS",
            severity=Severity.WARNING,
            summary="A process faults on and on and does not end by itself",
            gpu_uuid=gpu if gpu in self._host.gpus else "",
            repair=Rung.STOP_PROCESS,
            authority=Authority.CATALOGUE,
            vendor_action="RESTART_APP",
            clear_after_seconds=2 * rules.goes_on_for_seconds,
        )
        return self._host.book.see(finding, sighting, now, pid=pid)


def chance(here: int, everywhere: int, gpus: int) -> float:
    """Return how likely some GPU of `gpus` gets `here` or more of `everywhere` faults by blind chance (union bound)."""
    if here <= 0 or gpus <= 1:
        return 1.0
    # In logarithms: the binomial coefficients of thousands do not fit a float. Terms beyond the 64th are negligible.
    stays, moves = math.log(1.0 / gpus), math.log(1.0 - 1.0 / gpus)
    tail = 0.0
    for k in range(here, min(everywhere, here + 64) + 1):
        tail += math.exp(_choose(everywhere, k) + k * stays + (everywhere - k) * moves)
    return min(1.0, gpus * tail)


def hypergeometric(drawn_marked: int, drawn: int, marked: int, total: int) -> float:
    """Return how likely `drawn` out of `total`, of which `marked` are marked, have `drawn_marked` or more of these."""
    if drawn_marked <= 0:
        return 1.0
    tail = 0.0
    for k in range(drawn_marked, min(drawn, marked) + 1):
        if marked - k <= total - drawn:
            tail += math.exp(_choose(drawn, k) + _choose(total - drawn, marked - k) - _choose(total, marked))
    return min(1.0, tail)


def _choose(total: int, part: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(part + 1) - math.lgamma(total - part + 1)
