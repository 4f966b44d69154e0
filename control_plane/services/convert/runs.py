"""Reasoning runs and their events on the wire."""

from typing import Final

from control_plane.model.money import to_micros
from control_plane.model.run import Run, RunState, RunUsage
from control_plane.services.convert.diagnoses import diagnosis
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import agent_pb2

RUN_STATE: Final = wire_enum(RunState, agent_pb2.RunState.Value, "RUN_STATE")


def run(value: Run) -> agent_pb2.Run:
    """Return a run."""
    return agent_pb2.Run(
        id=value.id,
        agent_name=value.agent_name,
        goal_id=value.goal_id or "",
        incident_id=value.incident_id or "",
        user_id=value.user_id or "",
        state=RUN_STATE[value.state],
        status_reason=value.status_reason,
        result=value.result,
        used=_usage(value.used),
        limits=_usage(value.limits),
        reasoner=value.reasoner,
        tainted=value.tainted,
        started_at=timestamp(value.started_at),
        finished_at=timestamp(value.finished_at),
        diagnosis=None if value.diagnosis is None else diagnosis(value.diagnosis),
    )


def _usage(value: RunUsage) -> agent_pb2.RunUsage:
    return agent_pb2.RunUsage(
        turns=value.turns,
        tool_calls=value.tool_calls,
        input_tokens=value.input_tokens,
        output_tokens=value.output_tokens,
        cost_usd_micros=to_micros(value.cost_usd),
        seconds=value.seconds,
    )
