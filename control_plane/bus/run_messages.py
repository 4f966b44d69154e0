"""What agents think and do as messages: the same bytes on the bus and over gRPC."""

from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.model.run import ReasoningEvent
from orquanta.v1 import agent_pb2


def reasoning_event(event: ReasoningEvent) -> agent_pb2.ReasoningEvent:
    """Return the message of an event."""
    created_at = Timestamp()
    created_at.FromDatetime(event.created_at)
    return agent_pb2.ReasoningEvent(
        sequence=event.sequence,
        run_id=event.run_id,
        agent_name=event.agent_name,
        goal_id=event.goal_id or "",
        type=event.type.value,
        message=event.message,
        data_json=event.data_json,
        evidence_ids=event.evidence_ids,
        tainted=event.tainted,
        created_at=created_at,
    )
