"""Reasoning runs from the wire."""

from orquanta.convert.diagnoses import read_diagnosis
from orquanta.convert.scalars import read_enum, read_time, read_usd
from orquanta.types.runs import ReasoningEvent, Run, RunState, RunUsage
from orquanta.v1 import agent_pb2 as pb


def read_run(message: pb.Run) -> Run:
    """One run."""
    return Run(
        id=message.id,
        agent_name=message.agent_name,
        goal_id=message.goal_id,
        incident_id=message.incident_id,
        user_id=message.user_id,
        state=read_enum(RunState, pb.RunState, message.state),
        status_reason=message.status_reason,
        result=message.result,
        used=_usage(message.used),
        limits=_usage(message.limits),
        reasoner=message.reasoner,
        tainted=message.tainted,
        started_at=read_time(message.started_at),
        finished_at=read_time(message.finished_at),
        diagnosis=read_diagnosis(message.diagnosis) if message.HasField("diagnosis") else None,
    )


def read_event(message: pb.ReasoningEvent) -> ReasoningEvent:
    """One event."""
    return ReasoningEvent(
        run_id=message.run_id,
        sequence=message.sequence,
        agent_name=message.agent_name,
        goal_id=message.goal_id,
        type=message.type,
        message=message.message,
        data_json=message.data_json,
        evidence_ids=tuple(message.evidence_ids),
        tainted=message.tainted,
        created_at=read_time(message.created_at),
    )


def _usage(message: pb.RunUsage) -> RunUsage:
    return RunUsage(
        turns=message.turns,
        tool_calls=message.tool_calls,
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        cost_usd=read_usd(message.cost_usd_micros),
        seconds=message.seconds,
    )
