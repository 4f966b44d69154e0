"""The life of one supervisor once it is detached: start the job, stand over it, write down how it ended."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH118
from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from node_agent.jobs import proc
from node_agent.jobs.supervisor.cgroups import Cgroup
from node_agent.jobs.supervisor.child import Command, Pipes, StartError
from node_agent.jobs.supervisor.log_writer import LogWriter
from node_agent.jobs.supervisor.notices import Notifier
from node_agent.jobs.supervisor.output import Output, read_or_none
from node_agent.jobs.supervisor.plan import LOG_DIRECTORY, SUPERVISOR_FILE, Plan
from node_agent.jobs.supervisor.status_writer import StatusWriter
from node_agent.jobs.supervisor.stopping import Stopping
from node_agent.jobs.supervisor.tree import Tree, start_tree

_TICK_SECONDS = 10.0  # fence, sign of life and postponed writes are looked after at least this often
_FIRST_TICK_SECONDS = 1.0


class Supervisor:
    """Stands over one job from its start to its last process."""

    def __init__(self, directory: str, plan: Plan) -> None:
        self._directory = directory
        self._plan = plan
        self._status = StatusWriter(directory)
        self._notifier = Notifier(plan.notice_socket, plan.name)
        self._poll = select.poll()
        log = LogWriter(os.path.join(directory, LOG_DIRECTORY), plan.log_segment_bytes, plan.log_segments)
        self._output = Output(self._poll, log, self._notifier)
        self._stopping = Stopping(directory, plan, self._tell)
        self._tick_at = 0.0
        self._begun = 0.0
        self._started = 0.0
        self._waits: str | None = None
        self._runs = False
        self._cgroup = Cgroup({})
        self._wake_read = self._install_signals()

    def run(self) -> None:
        """Run the job to its end; everything that happens is in status.json and the log."""
        self._status.update(state="starting")
        if (reason := self._stopping.reason_not_to_start()) is not None:
            self._end_without_start(*reason)
            return
        oom_before = proc.kernel_oom_kills()
        try:
            tree, pipes = self._start()
        except StartError as error:
            self._end_without_start("start_failed", str(error))
            return
        except OSError as error:
            self._end_without_start("start_failed", f"cannot start on this host: {error}; make room on its disk")
            return
        self._tick_at = self._started + _FIRST_TICK_SECONDS
        self._watch(tree, pipes)
        self._look_whether_it_runs(
            tree,
            pid=tree.main_pid or None,
            init=tree.init,
            isolated=tree.isolated,
            limits_enforced=[*self._cgroup.enforced, *(["gpu_share"] if self._plan.gpu_share_enforced else [])],
            cgroups=list(self._cgroup.paths.values()),
        )
        while not tree.empty:
            self._step(tree)
        self._output.drain()
        self._end(tree, oom_before)

    def _tell(self, **fields: object) -> None:
        self._status.update(**fields)
        self._notifier.status()

    def _look_whether_it_runs(self, tree: Tree, **fields: object) -> None:
        """Note that the job runs, or what it waits for, where that has changed; `fields` go with it."""
        waits = tree.waits
        if waits is None:
            now = proc.boottime_seconds()
            if tree.ran_seconds is not None:
                self._started = max(self._begun, now - tree.ran_seconds)
            elif self._waits is not None:
                self._started = now  # what it has waited is not what it has run
            self._waits, self._runs = None, True
            started_at = time.time() - (now - self._started)
            self._tell(state="running", message="", started_at=started_at, started_boottime=self._started, **fields)
        elif waits != self._waits:
            self._waits = waits
            self._tell(state="starting", message=waits, **fields)

    def _install_signals(self) -> int:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stopping.on_signal)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        return wake_read

    def _start(self) -> tuple[Tree, Pipes]:
        plan = self._plan
        if plan.cgroup_parent is not None and plan.container is None and plan.site is None:
            self._cgroup = Cgroup.create(plan.cgroup_parent, plan.cgroup_name, plan.limits)
        command = Command(plan.argv, plan.env, plan.cwd, plan.user, self._cgroup.join_files())
        self._begun = self._started = proc.boottime_seconds()
        if plan.site is not None:
            # Only jobs elsewhere pay for loading what they need.
            from node_agent.jobs.supervisor.site_tree import SiteTree  # noqa: PLC0415

            site = SiteTree(command, plan.site, self._directory)
            return site, site.start()
        if plan.container is None:
            return start_tree(command, self._cgroup, isolate=plan.isolate)
        # Only containers pay for loading what containers need.
        from node_agent.jobs.supervisor.container_tree import ContainerTree  # noqa: PLC0415

        tree = ContainerTree(command, plan.container)
        return tree, tree.start()

    def _watch(self, tree: Tree, pipes: Pipes) -> None:
        self._output.open(pipes)
        self._poll.register(self._wake_read, select.POLLIN)
        if tree.wake_fd is not None:
            self._poll.register(tree.wake_fd, select.POLLIN)

    def _step(self, tree: Tree) -> None:
        for fd, _ in self._poll.poll(self._next_wakeup(tree) * 1000):
            if not self._output.take(fd) and fd == self._wake_read:
                while read_or_none(fd, 4096):
                    pass
        tree.reap()
        if tree.wake_fd is not None and tree.exit_status is not None:
            with contextlib.suppress(KeyError):
                self._poll.unregister(tree.wake_fd)
        self._look_after_time(tree)

    def _next_wakeup(self, tree: Tree) -> float:
        now = proc.boottime_seconds()
        waits = [self._tick_at - now, *self._stopping.waits(tree, now, self._started if self._runs else None)]
        if (notice := self._notifier.flush()) is not None:
            waits.append(notice)
        if not self._runs:
            waits.append(_FIRST_TICK_SECONDS)
        return max(0.0, min(waits)) + 0.001  # poll counts whole milliseconds; do not wake just before the time

    def _look_after_time(self, tree: Tree) -> None:
        now = proc.boottime_seconds()
        self._stopping.look_at_fence(now)
        if not self._runs and self._stopping.outcome is None:
            self._look_whether_it_runs(tree)
        if now >= self._tick_at:
            self._tick_at = now + _TICK_SECONDS
            self._stopping.read_fence()
            self._sign_of_life(tree)
        self._stopping.look_after(tree, now, self._started if self._runs else None)

    def _sign_of_life(self, tree: Tree) -> None:
        """Leave a mark from which a later daemon can tell how long the job ran, should this process be killed."""
        tree.sample()
        with contextlib.suppress(OSError):
            os.utime(os.path.join(self._directory, SUPERVISOR_FILE))
        if self._status.pending:
            self._tell()

    def _end(self, tree: Tree, oom_before: int) -> None:
        code = os.waitstatus_to_exitcode(tree.exit_status) if tree.exit_status is not None else None
        signal_number = -code if code is not None and code < 0 else None
        exit_code = code if signal_number is None else None
        killed_by_others = signal_number == signal.SIGKILL and self._stopping.outcome is None
        oom = self._cgroup.oom_kills() > 0 or tree.oom_killed
        if not self._cgroup.paths and killed_by_others:
            oom = oom or proc.kernel_oom_kills() > oom_before
        outcome, message = self._stopping.outcome, str(self._status.fields.get("message", ""))
        if outcome is None:
            failure = tree.start_failure(exit_code, self._output.last_words)
            if tree.verdict is not None:
                outcome, message = tree.verdict
            elif failure is not None:
                outcome, message = "start_failed", failure
            elif oom and code != 0:
                outcome, message = "oom_killed", self._oom_message()
            else:
                outcome = "exited" if signal_number is None else "signaled"
        peak = self._cgroup.peak_memory_bytes() or tree.peak_memory_bytes or tree.max_rss_bytes or None
        self._finish(
            outcome,
            message,
            exit_code=exit_code,
            signal=signal_number,
            oom_killed=oom,
            peak_memory_bytes=peak,
            runtime_seconds=self._runtime_seconds(tree),
        )

    def _runtime_seconds(self, tree: Tree) -> float:
        now = proc.boottime_seconds()
        if not self._runs:
            return 0.0
        if tree.ran_seconds is not None:
            return min(tree.ran_seconds, max(0.0, now - self._begun))
        return max(0.0, now - self._started)

    def _oom_message(self) -> str:
        limit = self._plan.limits.get("memory_bytes")
        if limit and "memory" in self._cgroup.enforced:
            return f"killed for using more than its {limit} bytes of memory; ask for more or use less"
        return "killed by the kernel because the host ran out of memory; ask for more or use less"

    def refuse(self, message: str) -> None:
        """End the member before anything is started."""
        self._end_without_start("start_failed", message)

    def _end_without_start(self, outcome: str, message: str) -> None:
        self._finish(outcome, message, runtime_seconds=0.0)

    def _finish(self, outcome: str, message: str, **fields: object) -> None:
        self._cgroup.remove()
        self._status.finish(
            state="ended",
            outcome=outcome,
            message=message,
            ended_at=time.time(),
            log_bytes=self._output.log.offset,
            log_dropped_bytes=self._output.log.dropped_bytes,
            **fields,
        )
        self._notifier.status()
