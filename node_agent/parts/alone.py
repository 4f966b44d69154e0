"""What the host does while its link is down: count, cordon itself, and let the repair engine decide."""

from typing import NoReturn

from node_agent.beat import sleep_to_beat
from node_agent.clock import Clock
from node_agent.parts.desk import HealthDesk
from node_agent.parts.jobs import HostJobs
from node_agent.policy.cordon import cordon_reason
from node_agent.policy.keeper import PolicyKeeper
from node_agent.repair.engine import RepairEngine
from node_agent.settings import Repairs

_PERIOD_SECONDS = 1.0


class Watch:
    """Looks once a second whether the host is alone, and what follows from that."""

    def __init__(
        self,
        *,
        desk: HealthDesk,
        policy: PolicyKeeper,
        repairs: RepairEngine,
        jobs: HostJobs,
        mode: Repairs,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._policy = policy
        self._repairs = repairs
        self._jobs = jobs
        self._mode = mode
        self._clock = clock
        self._down_since: float | None = clock.monotonic()

    @property
    def link_down_seconds(self) -> float | None:
        """How long the link has been down, since the daemon started at most; None if it is up."""
        return None if self._down_since is None else self._clock.monotonic() - self._down_since

    def note_link(self, *, connected: bool) -> None:
        """Take note of whether the link is up."""
        if connected:
            self._down_since = None
        elif self._down_since is None:
            self._down_since = self._clock.monotonic()
        self.look()

    def look(self) -> None:
        """Decide whether the host takes jobs, and whether it repairs itself."""
        down_seconds = self.link_down_seconds
        held = self._policy.held
        reason = cordon_reason(
            link_down_seconds=down_seconds,
            standing=self._policy.standing(),
            after_seconds=None if held is None else held.after_seconds,
            conditions=() if down_seconds is None else self._desk.conditions(),
        )
        if not reason and down_seconds is not None and self._repairs.self_quarantined:
            reason = "the host has given itself up while alone: an operator or the control plane must look at it"
        if reason != self._jobs.cordoned:
            self._jobs.cordon(reason)
        if self._mode is Repairs.ON:
            self._repairs.consider(link_down_seconds=down_seconds, policy=self._policy.current())

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        while True:
            await sleep_to_beat(_PERIOD_SECONDS)
            self.look()
