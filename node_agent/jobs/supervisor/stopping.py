"""What ends a job before its own end: a stop, its time limit, the fence. Asked first, killed in the end."""

# The supervisor starts in milliseconds, and loading pathlib would take a good part of them.
# ruff: noqa: PTH110, PTH118, PTH123
from __future__ import annotations

import os
from collections.abc import Callable

from node_agent.jobs import proc
from node_agent.jobs.supervisor.fence import read_fence
from node_agent.jobs.supervisor.plan import STOP_AT_ONCE, STOP_FILE, Plan
from node_agent.jobs.supervisor.tree import Tree

_KILL_AGAIN_SECONDS = 0.05
_STUCK_SECONDS = 30.0


class Stopping:
    """The way of one job from being asked to end to its last process. `outcome` says why, once it has begun."""

    def __init__(self, directory: str, plan: Plan, tell: Callable[..., None]) -> None:
        """`tell` puts fields into the job's status, and has it noticed."""
        self._stop_file = os.path.join(directory, STOP_FILE)
        self._plan = plan
        self._tell = tell
        self._asked = False
        self._asked_again = False
        self.outcome: str | None = None
        self._terminate_at: float | None = None
        self._kill_at: float | None = None
        self._kill_since: float | None = None
        self._stuck = False
        self._fence: float | None = None

    def on_signal(self, _number: int, _frame: object) -> None:
        """Take note that the daemon wants the job to end; how is in a file."""
        self._asked = self._asked_again = True

    def reason_not_to_start(self) -> tuple[str, str] | None:
        """Return the outcome, and a message, of a job that must not be started; None for one that may."""
        if self._asked or os.path.exists(self._stop_file):
            return "stopped", "stopped before it started"
        self.read_fence()
        if self._fence is not None and proc.boottime_seconds() >= self._fence:
            return "fenced", "this host had lost its control plane before the job started"
        return None

    def read_fence(self) -> None:
        """Look until when the job may run."""
        found = read_fence(self._plan.fence_file, self._plan.boot_id)
        self._fence = found if found is not None else self._fence

    def waits(self, tree: Tree, now: float, runs_since: float | None) -> list[float]:
        """Return in how many seconds there is something to look after, each reason by itself."""
        if self._kill_since is not None or (tree.exit_status is not None and self.outcome is None):
            return [_KILL_AGAIN_SECONDS]
        if self._kill_at is not None:
            kill_at = self._kill_at
            return [min(kill_at, self._terminate_at or kill_at, self._fence or kill_at) - now]
        found = [0.0] if self._asked else []
        if runs_since is not None and self._plan.max_runtime_seconds is not None:
            found.append(runs_since + self._plan.max_runtime_seconds - now)
        if self._fence is not None:
            found.append(self._fence - now)
        return found

    def look_at_fence(self, now: float) -> None:
        """Look whether the fence was moved, once it would pass."""
        if self._fence is not None and now >= self._fence:
            self.read_fence()

    def look_after(self, tree: Tree, now: float, runs_since: float | None) -> None:
        """Begin to end the job if there is a reason, or go on with that. `runs_since` is None until the job runs."""
        plan = self._plan
        if tree.exit_status is not None and self.outcome is None:
            self._kill(tree, now)  # what the main process leaves behind has no claim to go on
        elif self.outcome is None and self._asked:
            grace_seconds, at_once = self._read_stop()
            self._begin(tree, "stopped", grace_seconds, "", checkpoint=not at_once)
        elif self.outcome is None and self._has_run_its_time(now, runs_since):
            text = f"ran for its maximum of {plan.max_runtime_seconds:g} s"
            self._begin(tree, "timed_out", plan.stop_grace_seconds, text, checkpoint=True)
        elif self.outcome is None and self._fence is not None and now >= self._fence:
            text = "this host lost its control plane for longer than the fence allows"
            self._begin(tree, "fenced", min(plan.fence_grace_seconds, plan.stop_grace_seconds), text)
        elif self._kill_at is not None:
            self._go_on(tree, now)

    def _has_run_its_time(self, now: float, runs_since: float | None) -> bool:
        limit = self._plan.max_runtime_seconds
        return runs_since is not None and limit is not None and now >= runs_since + limit

    def _read_stop(self) -> tuple[float, bool]:
        """Return the job's grace in seconds, and whether it gets no time for a checkpoint before that."""
        self._asked_again = False
        try:
            with open(self._stop_file, encoding="ascii") as file:
                grace, _, how = file.read().strip().partition(" ")
            return max(0.0, float(grace)), how == STOP_AT_ONCE
        except (OSError, ValueError):
            return self._plan.stop_grace_seconds, False

    def _begin(self, tree: Tree, outcome: str, grace_seconds: float, message: str, *, checkpoint: bool = False) -> None:
        """Ask the job to end: at once, or once it has had its time for a checkpoint, if it listens for the signal."""
        self.outcome = outcome
        now = proc.boottime_seconds()
        plan = self._plan
        waits = checkpoint and plan.checkpoint_signal > 0 and tree.checkpoint(plan.checkpoint_signal)
        self._terminate_at = now + (plan.checkpoint_seconds if waits else 0.0)
        self._kill_at = self._terminate_at + grace_seconds
        if waits:
            message = message or f"asked for a checkpoint; it has {plan.checkpoint_seconds:g} s"
        else:
            self._terminate(tree, now)
        self._tell(state="stopping", outcome=outcome, message=message)

    def _terminate(self, tree: Tree, now: float) -> None:
        self._terminate_at = None
        tree.terminate(max(0.0, self._kill_at - now) if self._kill_at is not None else 0.0)

    def _go_on(self, tree: Tree, now: float) -> None:
        """Send SIGTERM after the checkpoint, and SIGKILL after the grace; neither may last beyond the fence."""
        assert self._kill_at is not None
        if self._fence is not None and now >= self._fence:
            self._kill_at = min(self._kill_at, self._fence + self._plan.fence_grace_seconds)
            self._terminate_at = None if self._terminate_at is None else now
            self._fence = None
        if self._terminate_at is not None and (
            now >= self._terminate_at or tree.exit_status is not None or self._is_to_end_at_once()
        ):
            self._kill_at -= max(0.0, self._terminate_at - now)
            self._terminate(tree, now)
        if now >= self._kill_at:
            self._kill(tree, now)

    def _is_to_end_at_once(self) -> bool:
        """Tell whether the daemon has said, since the last look, that nothing is to be saved any more."""
        return self._asked_again and self._read_stop()[1]

    def _kill(self, tree: Tree, now: float) -> None:
        if self._kill_since is None:
            self._kill_since = now
        tree.kill()
        if now - self._kill_since > _STUCK_SECONDS and not self._stuck:
            self._stuck = True
            self._tell(
                state="stopping",
                stuck=True,
                message="SIGKILL has no effect on some of the job's processes: the kernel or a driver holds them; "
                "restart the host if they do not go",
            )
