"""Says which limits of a team or a user keep a job waiting, with figures, and what would lift all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from control_plane.fleet.placement.phrases import MOST_NAMES, names
from control_plane.fleet.placement.room import Claim, Lack, Missing
from control_plane.fleet.queueing.explain import Explanation
from control_plane.fleet.queueing.model import WaitingJob, WaitReason
from control_plane.fleet.queueing.teams import Parties, Party, asked_gpu_milli, within
from control_plane.fleet.queueing.words import clock, gpus
from control_plane.model.ids import UserId


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit that a job would go beyond, in thousandths of GPUs. `command` is ended by how many GPUs it is to be."""

    name: str
    command: str
    most: int
    held: int
    wanted: int
    claims: tuple[Claim, ...]

    @property
    def never(self) -> bool:
        return self.wanted > self.most

    @property
    def text(self) -> str:
        if self.never:
            return f"{self.name} may never hold more than {gpus(self.most)}"
        holds = "holds" if self.held <= self.most else "holds or is promised"  # what makes way for others is still held
        return f"{self.name} may hold {gpus(self.most)} GPUs and {holds} {gpus(self.held)}"

    def enough(self) -> list[Claim] | None:
        """Return what has to end for the job to be within the limit, the first first; None if that is not known."""
        over, found = self.held + self.wanted - self.most, []
        for claim in sorted(self.claims, key=lambda one: (one.ends_by is None, one.ends_by, one.allocation_id)):
            if over <= 0:
                break
            if claim.ends_by is None:
                return None
            found.append(claim)
            over -= round(1000 * claim.gpus)
        return found if over <= 0 else None


def why_over_limits(
    job: WaitingJob,
    whose: Sequence[Party | UserId],
    parties: Parties,
    user_limits: Mapping[UserId, int],
    claims: Iterable[Claim],
    missing: Missing,
    now: datetime,
) -> Explanation:
    """Explain a job that limits keep waiting: of its user, its team, the teams around it.

    `missing` is what it lacks beside them.
    """
    wanted, held = asked_gpu_milli(job.resources), tuple(claims)
    limits = [_limit(one, job, wanted, parties, user_limits, held) for one in whose]
    raised = " && ".join(f"{one.command} {-(-(wanted if one.never else one.held + wanted) // 1000)}" for one in limits)
    whom = " and ".join(one.name for one in limits)
    help_ = f"raise the limit{'s' if len(limits) > 1 else ''} of {whom}: {raised}"
    if missing.lack is not Lack.NOTHING:
        help_ += f"; it then waits for room: {missing.text}"
    if never := [one.text for one in limits if one.never]:
        return Explanation(
            WaitReason.UNSATISFIABLE, f"it needs {gpus(wanted)} GPUs, and {' and '.join(never)}", (help_,)
        )
    text = f"{', '.join(one.text for one in limits)}; this job needs {gpus(wanted)}"
    return Explanation(WaitReason.QUOTA, text, (*_endings(limits, now), help_))


def _limit(
    whose: Party | UserId,
    job: WaitingJob,
    wanted: int,
    parties: Parties,
    user_limits: Mapping[UserId, int],
    claims: tuple[Claim, ...],
) -> _Limit:
    if isinstance(whose, Party):
        mine = tuple(one for one in claims if within(one.team, whose.name))
        command = f"orquanta quota set {whose.name} --max"
        return _Limit(f"team {whose.name}", command, whose.max_milli or 0, whose.gpu_milli, wanted, mine)
    mine = tuple(one for one in claims if one.user_id == whose)
    command = f"orquanta user update {job.user_email} --max-gpus"
    return _Limit(job.user_email, command, 1000 * user_limits[whose], parties.held_by(whose), wanted, mine)


def _endings(limits: Sequence[_Limit], now: datetime) -> tuple[str, ...]:
    """Return what has to end for the job to be within all limits; nothing where some of it has no time limit."""
    ending: dict[str, tuple[datetime, str]] = {}
    for limit in limits:
        enough = limit.enough()
        if enough is None:
            return ()
        for claim in enough:
            if claim.ends_by is not None:
                text = f"{claim.job_id} ends by {clock(claim.ends_by, now)}"
                ending[claim.allocation_id] = (claim.ends_by, text)
    order = sorted(ending.values())
    if not order:
        return ()
    last = f", the last by {clock(order[-1][0], now)}" if len(order) > MOST_NAMES else ""
    return (names([text for _, text in order]) + last,)
