"""What the runner remembers about one member while the daemon runs."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from datetime import datetime

from node_agent.jobs.directory import MemberDirectory, Supervisor
from node_agent.jobs.proc import boottime_seconds
from node_agent.jobs.spec import MemberSpec
from node_agent.jobs.status import MemberStatus, Outcome, from_file, never_started, waiting


class Member:
    """One member: its specification, its directory once it has one, its supervisor while that lives."""

    def __init__(self, spec: MemberSpec, directory: MemberDirectory | None) -> None:
        self.spec = spec
        self.directory = directory
        self.status: MemberStatus = waiting(spec, "")
        self.launched = False
        self.recovering = False
        self.seen_dying = False
        self.stop_requested = False
        self.stops_at_once = False
        self.size_bytes = 0
        self._started_boottime: float | None = None
        self._pidfd = -1

    @property
    def live(self) -> bool:
        """Whether the member may hold GPUs: its supervisor was started, and the end is not on record."""
        return self.launched and not self.status.ended

    def current(self) -> MemberStatus:
        """Return the status, with the time that it has run until now."""
        return self.status.at(self._started_boottime, boottime_seconds())

    def refresh(self) -> None:
        """Read the status from disk."""
        raw = self.directory.read_status() if self.directory is not None else None
        if self.directory is None or raw is None:
            return
        self.status = from_file(self.spec, raw, acknowledged=self.directory.acknowledged)
        self._started_boottime = raw.get("started_boottime")

    def fail(self, outcome: Outcome, message: str, now: datetime) -> None:
        """Note that the member ended before anything ran."""
        self.status = never_started(self.spec, outcome, message, now)

    def watch(self, supervisor: Supervisor, on_death: Callable[[], None]) -> bool:
        """Call `on_death` once the supervisor is gone; False when it is gone already."""
        try:
            pidfd = os.pidfd_open(supervisor.pid)
        except ProcessLookupError:
            return False
        if not supervisor.alive:  # looked at after the descriptor was made, so it cannot be somebody else's
            os.close(pidfd)
            return False
        self.unwatch()
        self._pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, on_death)
        return True

    def unwatch(self) -> None:
        """Stop watching the supervisor."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def request_stop(self, *, at_once: bool = False) -> None:
        """Ask the supervisor to stop the job, with `at_once` without time for a checkpoint first.

        Asking the same again does nothing. Raises OSError when the disk is full.
        """
        if self.directory is None or (self.stop_requested and (self.stops_at_once or not at_once)):
            return
        with contextlib.suppress(OSError):  # the signal alone is enough for a supervisor that is up
            self.directory.request_stop(self.spec.stop_grace_seconds, at_once=at_once)
            self.stop_requested, self.stops_at_once = True, at_once
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
                self.stop_requested = True

    def kill_supervisor(self) -> None:
        """Kill the supervisor that is watched, if it still lives."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
