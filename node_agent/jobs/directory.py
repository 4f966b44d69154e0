"""One directory per member: the only place where the daemon and a supervisor meet."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import node_agent
from node_agent.jobs import plan, proc
from node_agent.jobs.settings import RunnerSettings
from node_agent.jobs.spec import MemberKey, MemberSpec
from node_agent.jobs.status import well_formed
from node_agent.jobs.supervisor import status_writer
from node_agent.jobs.supervisor.plan import (
    LOG_DIRECTORY,
    SPEC_FILE,
    STATUS_FILE,
    STOP_AT_ONCE,
    STOP_FILE,
    SUPERVISOR_FILE,
)

_LOCK_FILE = "lock"
_ERROR_FILE = "supervisor.err"
_ACKNOWLEDGED_FILE = "acknowledged"
_DRAFT_PREFIX = ".new-"
_BOOT_SECONDS = 20.0
_ERROR_TAIL_BYTES = 800
SUPERVISOR_CODE = (
    "import sys; sys.path.append(sys.argv[3]); "
    "from node_agent.jobs.supervisor.main import main; main(sys.argv[1], int(sys.argv[2]))"
)


class LockedError(Exception):
    """Another process holds the member's directory: a supervisor that lives."""


@dataclass(frozen=True, slots=True)
class Supervisor:
    """A supervisor's process: its id and its start time, which together are never used twice."""

    pid: int
    start_time: str

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return proc.is_alive(self.pid, self.start_time)


@dataclass(frozen=True, slots=True)
class MemberDirectory:
    """The directory of one member. Its existence says that the member was, or is about to be, started here."""

    path: Path

    @property
    def log_path(self) -> Path:
        """Where the log's segments are."""
        return self.path / LOG_DIRECTORY

    def read_spec(self) -> MemberSpec:
        """Return the specification. Raises OSError, ValueError or KeyError when it is not readable."""
        return MemberSpec.from_json(self.read_document()["spec"])

    def read_document(self) -> dict[str, Any]:
        """Return the whole of spec.json: "spec" and "plan"."""
        document: dict[str, Any] = json.loads((self.path / SPEC_FILE).read_text(encoding="utf-8"))
        return document

    def read_status(self) -> dict[str, Any] | None:
        """Return the status last written, or None when there is none, or none that can be believed."""
        try:
            status: dict[str, Any] = json.loads((self.path / STATUS_FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return status if well_formed(status) else None

    def read_supervisor(self) -> Supervisor | None:
        """Return the supervisor that was started here, alive or not; None when none was, or before this boot."""
        try:
            raw = json.loads((self.path / SUPERVISOR_FILE).read_text(encoding="ascii"))
            if raw["boot_id"] != proc.boot_id():
                return None
            return Supervisor(int(raw["pid"]), str(raw["start_time"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    @contextlib.contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the directory alone; yields the descriptor that holds it. Raises LockedError."""
        fd = os.open(self.path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LockedError(str(self.path)) from error
            yield fd
        finally:
            os.close(fd)

    @property
    def touched(self) -> bool:
        """Whether a supervisor was ever started here: one lives, or has left a trace."""
        traces = (self.path / STATUS_FILE, self.path / SUPERVISOR_FILE)
        return self.locked or any(path.exists() for path in traces)

    @property
    def locked(self) -> bool:
        """Whether a supervisor lives here."""
        try:
            with self.lock():
                return False
        except LockedError:
            return True

    def launch(self) -> Supervisor | None:
        """Start the supervisor and wait until it stands on its own; None when it died doing so.

        The lock goes over to the supervisor without a gap, so a daemon killed at any point leaves a directory whose
        state is plain: never started, running, or ended. Raises LockedError, OSError.
        """
        root = str(Path(node_agent.__file__).parent.parent)
        with self.lock() as lock_fd, (self.path / _ERROR_FILE).open("wb") as errors:
            if (self.path / STATUS_FILE).exists():
                return self.read_supervisor()
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-E", "-c", SUPERVISOR_CODE, str(self.path), str(lock_fd), root],
                cwd=self.path,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(lock_fd,),
                start_new_session=True,
            )
            try:
                process.wait(_BOOT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return self.read_supervisor()

    def request_stop(self, grace_seconds: float, *, at_once: bool = False) -> None:
        """Leave word that the job is to stop; a supervisor that is only just starting finds it.

        With `at_once` it gets no time for a checkpoint first.
        """
        write_atomically(self.path / STOP_FILE, f"{grace_seconds:g}{f' {STOP_AT_ONCE}' if at_once else ''}\n")

    def bury(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Write the last status of a member whose supervisor is dead, unless there is one; return the one that counts.

        Raises LockedError when the supervisor lives after all.
        """
        with self.lock():
            status = self.read_status()
            if status is not None and status.get("state") == "ended":
                return status
            status = {**(status or {}), **fields, "state": "ended"}
            status_writer.write_last(str(self.path), status)
            return status

    def error_tail(self) -> str:
        """Return the last words of a supervisor that failed."""
        try:
            return (self.path / _ERROR_FILE).read_bytes()[-_ERROR_TAIL_BYTES:].decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def last_sign_of_life(self) -> float:
        """Return when the supervisor last wrote anything, in seconds of the wall clock."""
        times = [0.0]
        for path in (self.path / STATUS_FILE, self.path / SUPERVISOR_FILE, *self._segments()):
            with contextlib.suppress(FileNotFoundError):
                times.append(path.stat().st_mtime)
        return max(times)

    def _segments(self) -> list[Path]:
        return list(self.log_path.iterdir()) if self.log_path.is_dir() else []

    @property
    def acknowledged(self) -> bool:
        """Whether the control plane has this member's result."""
        return (self.path / _ACKNOWLEDGED_FILE).exists()

    def acknowledge(self) -> None:
        """Note that the control plane has this member's result, and drop what only the running job needed."""
        (self.path / _ACKNOWLEDGED_FILE).touch()
        shutil.rmtree(self.path / plan.TEMPORARY_DIRECTORY, ignore_errors=True)

    def size_bytes(self) -> int:
        """Return the disk space that the directory takes."""
        total = 0
        for parent, _, files in os.walk(self.path):
            for name in files:
                with contextlib.suppress(OSError):
                    total += (Path(parent) / name).lstat().st_blocks * 512
        return total


def prepare(spec: MemberSpec, settings: RunnerSettings) -> MemberDirectory:
    """Make a member's directory, whole or not at all, and on disk before it returns.

    Raises FileExistsError when the member was started before, NoEngineError, OSError.
    """
    final = settings.jobs_dir / str(spec.key)
    if final.exists():
        raise FileExistsError(f"{spec.key} was started here before")
    made, files = plan.make(spec, settings, final)
    draft = settings.jobs_dir / f"{_DRAFT_PREFIX}{spec.key}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(mode=0o711)
        (draft / LOG_DIRECTORY).mkdir(mode=0o700)
        for name in (plan.WORK_DIRECTORY, plan.TEMPORARY_DIRECTORY):
            (draft / name).mkdir(mode=0o700)
            if settings.run_as is not None:
                os.chown(draft / name, *settings.run_as)
        for name, text in files.items():
            write_atomically(draft / name, text)
        document = json.dumps({"spec": spec.to_json(), "plan": made})
        status_writer.reserve(str(draft))
        write_atomically(draft / SPEC_FILE, document, durable=True)
        draft.rename(final)
        sync_directory(settings.jobs_dir)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return MemberDirectory(final)


def scan(jobs_dir: Path) -> dict[MemberKey, MemberDirectory]:
    """Return the members that were started on this host, and clear away what a killed daemon left half made."""
    found: dict[MemberKey, MemberDirectory] = {}
    for path in jobs_dir.iterdir():
        if path.name.startswith(_DRAFT_PREFIX):
            shutil.rmtree(path, ignore_errors=True)
        elif (key := MemberKey.parse(path.name)) is not None and path.is_dir():
            found[key] = MemberDirectory(path)
    return found


def write_atomically(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file as a whole, readable by its owner alone; `durable` makes it survive a power cut."""
    draft = path.with_name(f".{path.name}.draft")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    draft.replace(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
