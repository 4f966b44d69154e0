"""What the governor refused, and from when on it may be proposed again."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from control_plane.model.ids import JobId
from control_plane.scheduling.values import REFUSED

_LONGEST_PAUSE_SECONDS: Final = 60.0
_IN_VAIN_SECONDS: Final = 3_600.0
_IN_VAIN_TIMES: Final = 1  # once may be a matter of what has changed meanwhile


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A placement that was refused, how often before that, when, and from when on it may be proposed again."""

    times: int
    at: float
    retry_at: float
    reason: str
    reconsidered: bool = False  # a decision since then could have proposed it


class Refusals:
    """Placements that were refused. Each is tried again at once, for the world has moved; then ever later."""

    def __init__(self) -> None:
        self._refused: dict[JobId, _Refusal] = {}

    def note(self, job_id: JobId, outcome: str, now: float) -> None:
        """Remember a refusal: a lasting one must flood no books."""
        times = self._refused[job_id].times + 1 if job_id in self._refused else 0
        pause = 0.0 if times == 0 else min(2.0 ** (times - 1), _LONGEST_PAUSE_SECONDS)
        self._refused[job_id] = _Refusal(times, now, now + pause, f"{REFUSED}{outcome}")

    def would_be_vain(self, job_id: JobId, now: float) -> bool:
        """Tell whether nobody should make way for a job: it was refused lately, and not for the first time.

        It is not to be proposed for a while then, so that the next decision reckons with nobody's making way for it.
        """
        refused = self._refused.get(job_id)
        if refused is None or refused.times < _IN_VAIN_TIMES or now - refused.at > _IN_VAIN_SECONDS:
            return False
        self._refused[job_id] = replace(refused, retry_at=now + _LONGEST_PAUSE_SECONDS, reconsidered=False)
        return True

    def forget(self, job_id: JobId) -> None:
        """Forget what was refused of a job: it was placed."""
        self._refused.pop(job_id, None)

    def keep(self, waiting: Collection[JobId]) -> None:
        """Forget jobs that no longer wait."""
        if self._refused:
            self._refused = {job_id: one for job_id, one in self._refused.items() if job_id in waiting}

    def held_back(self, now: float) -> dict[JobId, str]:
        """Return the jobs that are not to be proposed yet, with why."""
        return {job_id: one.reason for job_id, one in self._refused.items() if one.retry_at > now}

    def reasons(self, now: float) -> dict[JobId, str]:
        """Return why each job was refused that is held back, or was refused within the longest pause.

        What was refused longer ago and was not proposed since waits for something else now.
        """
        since = now - _LONGEST_PAUSE_SECONDS
        return {job_id: one.reason for job_id, one in self._refused.items() if one.retry_at > now or one.at >= since}

    def reconsider(self, now: float) -> None:
        """Note that it is decided now: what is not held back and not proposed by that is nothing to decide for."""
        for job_id, one in self._refused.items():
            if one.retry_at <= now and not one.reconsidered:
                self._refused[job_id] = replace(one, reconsidered=True)

    def due(self, now: float) -> bool:
        """Tell whether one may be proposed again by now of which no decision was made since."""
        return any(one.retry_at <= now and not one.reconsidered for one in self._refused.values())
