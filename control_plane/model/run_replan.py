"""What a run does in place of a job that has failed: one remedy of a closed list, as it is written down in its step."""

import json
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter

from control_plane.model.ids import JobId
from control_plane.model.job import ResourceRequest


class RemedyKind(StrEnum):
    """What can be done about a failed job.

    RETRY, MORE_GPU_MEMORY, MORE_HOST_MEMORY and AS_ANSWERED run its program again; ASK asks the person whose goal it
    is; GIVE_UP leaves it failed.
    """

    RETRY = "retry"
    MORE_GPU_MEMORY = "more_gpu_memory"
    MORE_HOST_MEMORY = "more_host_memory"
    AS_ANSWERED = "as_answered"
    ASK = "ask"
    GIVE_UP = "give_up"

    @property
    def runs_again(self) -> bool:
        """Whether the job's program is run again."""
        return self not in (RemedyKind.ASK, RemedyKind.GIVE_UP)


@dataclass(frozen=True, slots=True)
class Replan:
    """A failed job whose program is run again, by a fresh job.

    `jobs` pairs the failed job, and those that its failure has cancelled, with the ids of the jobs that take their
    places. `change` tells remedies apart that have one kind: the same one is not tried twice for a job and a cause.
    """

    job_id: JobId
    cause: str
    remedy: RemedyKind
    change: str
    why: str
    resources: ResourceRequest
    max_runtime_seconds: int
    jobs: tuple[tuple[JobId, JobId], ...]
    evidence_ids: tuple[str, ...] = ()


_REPLAN: TypeAdapter[Replan] = TypeAdapter(Replan)


def replan_to_json(replan: Replan) -> str:
    """Return the JSON that a step keeps."""
    return json.dumps(_REPLAN.dump_python(replan, mode="json"), sort_keys=True, separators=(",", ":"))


def replan_from_json(text: str) -> Replan:
    """Return what a step keeps. Raises ValueError if the text does not hold one."""
    return _REPLAN.validate_json(text)
