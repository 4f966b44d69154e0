"""Stands for one job of Slurm, in the foreground: submits it, copies what it writes, tells how it ends, cancels it.

Every call names the job by a name that no other job has, so that one whose submission was interrupted is found too.
Slurm keeps a job that has ended for some minutes (MinJobAge); after that sacct is asked, where there is accounting.
"""

import contextlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from node_agent.executors.output_file import COPY_BYTES, copy_on, size_bytes
from node_agent.executors.site_file import SiteFile, SiteState
from node_agent.executors.slurm_job import OUTCOMES, WAITING, Job, read_job, read_seconds
from node_agent.executors.slurm_marks import LIST_NAMES, find
from node_agent.executors.slurm_programs import call, cancel, kill, run_program
from node_agent.jobs.executor import ORDER_FILE

_LOOK_SECONDS: Final = 1.0
_LONGEST_LOOK_SECONDS: Final = 3.0
_SETTLE_SECONDS: Final = 0.5  # what a job wrote last may come late over a shared disk
_ANSWER_SECONDS: Final = 5.0
_UNKNOWN_LOOKS_MAX: Final = 12
_BEGUN_SECONDS: Final = 30.0  # after which a job has begun, whether or not its output is seen
_FIELD: Final = re.compile(r"(\w+)=(\S*)")
_AWAY: Final = re.compile(r"contact slurm controller|connect failure|timed out|Zero Bytes|communication", re.IGNORECASE)
"""What a program of Slurm says that had no answer: what it asked for may have been done."""


class Client:
    """One job."""

    def __init__(self, directory: Path) -> None:
        self._order: dict[str, Any] = json.loads((directory / ORDER_FILE).read_text())  # Any: JSON of our own
        self._file = SiteFile(directory)
        self._output = Path(self._order["output_dir"])
        self._id = ""
        self._stopping = False
        self._offsets = [0, 0]
        self._ran_seconds: float | None = None

    def run(self) -> int:
        """Submit the job and stay until it has ended. Return the exit code of this process."""
        signal.signal(signal.SIGTERM, self._on_stop)
        refusal = self._submit()
        if refusal:
            self._file.write(SiteState("ended", refusal, outcome="start_failed", exit_code=1))
            return 1
        job = self._follow()
        if job is None:
            return self._lost()
        time.sleep(_SETTLE_SECONDS)
        left = sum(size_bytes(self._output / name) for name in ("out", "err")) - sum(self._offsets)
        while left > 0 and (copied := self._copy()):  # a process that was left behind may write for ever
            left -= copied
        for path in (self._output / "out", self._output / "err"):
            path.unlink(missing_ok=True)
        return self._end(job)

    def _follow(self) -> Job | None:
        """Return the job once it has ended, or None once Slurm has surely forgotten it."""
        unknown = 0
        pause = _LOOK_SECONDS
        asked_to_stop = False
        while True:
            job = self._look()
            moved = self._copy_on()
            unknown = unknown + 1 if job is None else 0
            if job is not None:
                if job.ended:
                    return job
                if self._stopping and job.state in WAITING:
                    self.cancel()  # what has no process hears no signal, and Slurm refuses to send it one
                elif self._stopping and not asked_to_stop:
                    begun = self._has_begun(job)
                    asked_to_stop = call("scancel", "--signal=TERM", "--full", self._id) is not None and begun
                self._tell(job)
            elif unknown >= _UNKNOWN_LOOKS_MAX and call("sinfo", "--noheader") is not None:
                return None
            pause = _LOOK_SECONDS if moved or self._stopping else min(_LONGEST_LOOK_SECONDS, pause * 1.2)
            self._sleep(pause)

    def _has_begun(self, job: Job) -> bool:
        """Tell whether a signal finds a process of a job that is said to run.

        Slurm says so as soon as the job has its nodes, and drops a signal without a word while nothing runs there yet.
        What a job writes to is made just before it; over a shared disk that may be seen late.
        """
        return (self._output / "out").exists() or (job.ran_seconds or 0.0) >= _BEGUN_SECONDS

    def _copy(self) -> int:
        """Pass on what the job has written since the last time, up to a bound; return how many bytes."""
        copied = [
            copy_on(self._output / "out", sys.stdout.buffer, self._offsets[0]),
            copy_on(self._output / "err", sys.stderr.buffer, self._offsets[1]),
        ]
        self._offsets = [before + more for before, more in zip(self._offsets, copied, strict=True)]
        return sum(copied)

    def _copy_on(self) -> bool:
        """Pass on what there is, as much as a look's time allows; return whether there was any."""
        until = time.monotonic() + _LOOK_SECONDS
        moved = copied = self._copy()
        while copied >= COPY_BYTES and time.monotonic() < until:
            copied = self._copy()
        return moved > 0

    def kill(self) -> int:
        """End the job at once: by its name, for it may have been submitted without this process knowing its id.

        By its id too, if that is known: a job can give itself another name.
        """
        known = self._file.engine_id()
        taken = [kill(f"--name={self._order['name']}"), kill(known) if known.isdigit() else True]
        return 0 if all(taken) else 1

    def cancel(self) -> None:
        """Take the job out of the queue, or have Slurm end it in its own time."""
        cancel(f"--name={self._order['name']}")

    def send(self, number: int) -> int:
        """Signal the job's processes, as Slurm does: all of them, whether or not they listen."""
        name = self._order["name"]
        return 0 if call("scancel", "--full", f"--signal={number}", f"--name={name}") is not None else 1

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        was_stopping = self._stopping
        while time.monotonic() < until and self._stopping == was_stopping:
            time.sleep(0.05)

    def _submit(self) -> str:
        """Hand the job over, unless it is there already; return why that was refused, or nothing."""
        there = self._handed_over_before()
        if there:
            return self._taken(there)
        if self._stopping:
            return "stopped before Slurm took it"
        work = self._output / "work"
        try:
            work.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            return f"cannot make {work} for its output: {error}"
        files = (f"--output={self._output / 'out'}", f"--error={self._output / 'err'}", f"--chdir={work}")
        while True:
            done = run_program(["sbatch", *self._order["arguments"], *files], stdin=self._order["script"])
            if not isinstance(done, str) and done.returncode == 0:
                return self._taken(done.stdout.strip().split(";")[0])
            said = done if isinstance(done, str) else done.stderr.strip()[-400:]
            if not _AWAY.search(said):
                return f"Slurm took no job: {said or 'sbatch failed'}"
            found = self._find(said)
            if found:
                return self._taken(found)
            if self._stopping:
                return "stopped before Slurm took it"

    def _handed_over_before(self) -> str:
        """Return the id of the job if a host that has lost its state since then had submitted it, or nothing.

        Stays until Slurm tells, for sbatch would take the job a second time. By its mark too: a job can give itself
        another name.
        """
        while True:
            done = run_program(list(LIST_NAMES))
            if not isinstance(done, str) and done.returncode == 0:
                return find(done.stdout, self._order["name"], self._order.get("mark", ""))
            said = done if isinstance(done, str) else done.stderr.strip() or "squeue failed"
            self._file.write(SiteState("waiting", f"waits for Slurm to take it: {said[:300]}"))
            self._sleep(_LONGEST_LOOK_SECONDS)

    def _taken(self, number: str) -> str:
        if not number.isdigit():
            self.cancel()
            return f"sbatch did not say which job it is: {number[:200]!r}"
        self._id = number
        self._file.write(SiteState("waiting", f"waits in Slurm's queue as job {self._id}", self._id))
        return ""

    def _find(self, said: str) -> str:
        """Return the id of the job, if a submission without an answer was taken; stays until Slurm tells."""
        self._file.write(SiteState("waiting", f"waits for Slurm to take it: {said[:300]}"))
        command = ("squeue", "--noheader", "--states=all", "--format=%i", f"--name={self._order['name']}")
        sure = False
        while True:
            found = call(*command)
            if found and found.split():
                return found.split()[-1]
            if found is not None and sure:
                return ""
            sure = found is not None
            time.sleep(_ANSWER_SECONDS)  # what was asked last may be taken after this was told

    def _look(self) -> Job | None:
        text = call("scontrol", "--oneliner", "show", "job", self._id)
        if text:
            fields = dict(_FIELD.findall(text))
            ran = read_seconds(fields.get("RunTime", ""))
            return read_job(fields.get("JobState", ""), fields.get("Reason", ""), fields.get("ExitCode", "0:0"), ran)
        history = ("--noheader", "--parsable2", "--allocations", "--format=State,ExitCode,Elapsed")
        text = call("sacct", *history, f"--jobs={self._id}")
        words = text.strip().split("|") if text else []
        return read_job(words[0].split(" ")[0], "", words[1], read_seconds(words[2])) if len(words) > 2 else None  # noqa: PLR2004 - as asked

    def _tell(self, job: Job) -> None:
        if job.state in WAITING:
            reason = f": {job.reason}" if job.reason not in {"", "None"} else ""
            self._file.write(SiteState("waiting", f"waits in Slurm's queue as job {self._id}{reason}", self._id))
        else:
            if self._ran_seconds is None:
                self._ran_seconds = job.ran_seconds
            self._file.write(SiteState("running", "", self._id, ran_seconds=self._ran_seconds))

    def _end(self, job: Job) -> int:
        number = job.ended_by
        outcome, message = OUTCOMES.get(job.state, ("signaled" if number else "exited", ""))
        if job.state == "CANCELLED" and not self._stopping:
            message = "cancelled in Slurm, by its user or an administrator"
        code = None if number else job.exit_code or (0 if job.state == "COMPLETED" else 1)
        self._file.write(SiteState("ended", message, self._id, outcome, code, number or None, job.ran_seconds))
        return 0

    def _lost(self) -> int:
        text = f"Slurm knows job {self._id} no more, so how it ended is not known"
        self._file.write(SiteState("ended", text, self._id, "supervisor_lost", 1))
        return 1


def main(arguments: list[str]) -> None:
    """Do what the arguments say: run, kill or signal, then the member's directory."""
    client = Client(Path(arguments[1]))
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, and whoever follows it ends the job
        match arguments[0]:
            case "run":
                os._exit(client.run())
            case "kill":
                sys.exit(client.kill())
            case "signal":
                sys.exit(client.send(int(arguments[2])))
