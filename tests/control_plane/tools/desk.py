"""A job that failed, and a scripted model that is asked why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any  # JSON

from control_plane.model.diagnosis import Diagnosis
from control_plane.model.identity import Principal
from control_plane.model.job import AllocationState, ExitReason
from control_plane.reasoning.contract import ModelRequest
from control_plane.reasoning.scripted import Script, Scripted, ScriptedModel
from control_plane.telemetry.log_file import LogChunk, LogRecord, LogStream
from control_plane.tools.diagnosing import Asker
from control_plane.tools.job_diagnoses import JobDiagnoses
from tests.control_plane.tools.bench import Bench
from tests.control_plane.world import job_id, principal, spec

OUTPUT = "step 17\nstep 18\nloader: shard 12 ends in the midst of a record, giving up\nbye\n"
TELLING = "giving up"


@dataclass
class Desk:
    """A job that failed in a way no rule knows, and who asks why."""

    bench: Bench
    owner: Principal
    model: ScriptedModel

    @property
    def diagnoses(self) -> JobDiagnoses:
        return JobDiagnoses(
            self.bench.world.store, self.bench.logs, self.bench.telemetry, Asker(self.bench.world.store, self.model)
        )

    async def why(self, who: Principal | None = None, name: str = "train") -> Diagnosis:
        return (await self.diagnoses.of_job(who or self.owner, job_id(name)))[1]


async def failed(bench: Bench, script: Script, text: str = OUTPUT, *, name: str = "train", model: str = "m") -> Desk:
    """Let a job write something and fail with exit code 3."""
    world = bench.world
    owner = await bench.account(f"owner-of-{name}")
    node = await world.node(f"host-of-{name}")
    await world.launch(owner, spec(name))
    await world.place(name, (node, [0]))
    attempt = await world.newest(name)
    records = tuple(LogRecord(LogStream.STDERR, line.encode(), world.clock.now()) for line in text.splitlines(True))
    size = len(text.encode())
    await bench.logs.append([(LogChunk(job_id(name), attempt.id, 1, 0, 0, size, records, end=True), False)])
    await world.report(name, AllocationState.ENDED, ExitReason.EXITED, exit_code=3)
    return Desk(bench, principal(owner), ScriptedModel(script, model_name=model))


def said(cites: str = "", **changes: Any) -> Mapping[str, Any]:  # Any: JSON
    """What a sensible model says; it cites the line that holds `cites`."""
    return {
        "cause": "DATA_INVALID",
        "summary": "A data shard is cut off.",
        "advice": "Check the shard, and write it anew.",
        "fault": "job",
        "confidence": 0.65,
        "evidence": [cites] if cites else [],
        "alternatives": ["FILE_NOT_FOUND"],
        **changes,
    }


def label_of(request: ModelRequest, words: str) -> str:
    """The label of the piece of evidence that holds these words."""
    shown = request.messages[1].text
    return next(line for line in shown.splitlines() if words in line).split("]")[0].strip("[")


def sensible(request: ModelRequest) -> Scripted:
    return said(label_of(request, TELLING))
