"""The one module that knows subjects and streams.

    orq.node.<node id>.telemetry       core NATS: a batch of samples, loss tolerated
    orq.node.<node id>.log.<job id>    JetStream: chunks of job output
    orq.event.<noun>.<id>              JetStream: what happened, published by the control plane alone
    orq.run.<run id>                   JetStream: what agents think and do, published by the control plane alone
    orq.replica.changes                core NATS: something was committed, among replicas of the control plane
    orq.replica.deltas                 core NATS: what models write just now, among replicas
    orq.replica.link.<replica>         core NATS: a question about a link that this replica holds
    $KV.ORQ_REPLICAS.>                 JetStream: who leads, and which replicas there are
    _INBOX.<node id>.>                 replies to a node

Hosts and control plane live in two accounts of the broker. The fleet's account reaches the control plane's
through the node subjects alone, so the reply subject that a host puts on a message is resolved among hosts.
In one common account it would make JetStream's acknowledgement appear as an event, as another host's message
or as a JetStream request, for permissions do not cover reply subjects.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from control_plane.errors import InvalidArgument
from control_plane.model.ids import JOB, NODE, RUN, JobId, NodeId, RunId, parse_id

CONTROL_ACCOUNT: Final = "ORQ_CONTROL"
FLEET_ACCOUNT: Final = "ORQ_FLEET"
CONTROL_USER: Final = "control"

ALL_TELEMETRY: Final = "orq.node.*.telemetry"
ALL_LOGS: Final = "orq.node.*.log.*"
ALL_EVENTS: Final = "orq.event.>"
ALL_RUNS: Final = "orq.run.*"

REPLICA_BUCKET: Final = "ORQ_REPLICAS"
REPLICA_CHANGES: Final = "orq.replica.changes"
REPLICA_DELTAS: Final = "orq.replica.deltas"

_TOKEN: Final = re.compile("[A-Za-z0-9_-]{1,64}")


class NodeSubjectKind(Enum):
    """What a host publishes; the value is the subject's token."""

    TELEMETRY = "telemetry"
    LOG = "log"


class EventNoun(Enum):
    """What an event is about; the value is the subject's token."""

    GOAL = "goal"
    JOB = "job"
    ALLOCATION = "allocation"
    NODE = "node"
    INCIDENT = "incident"
    ACTION = "action"
    AGENT = "agent"
    POLICY = "policy"
    USER = "user"
    AUDIT = "audit"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class NodeSubject:
    """A subject that a host publishes to; `job_id` only for LOG."""

    node_id: NodeId
    kind: NodeSubjectKind
    job_id: JobId | None = None


@dataclass(frozen=True, slots=True)
class EventSubject:
    """A subject of an event of the control plane."""

    noun: EventNoun
    item_id: str


def node_telemetry(node_id: NodeId) -> str:
    """Return the subject of a host's telemetry. Raises InvalidArgument (ID_INVALID), as all builders here."""
    return f"orq.node.{parse_id(NODE, node_id)}.telemetry"


def node_log(node_id: NodeId, job_id: JobId) -> str:
    """Return the subject of a job's output on a host."""
    return f"orq.node.{parse_id(NODE, node_id)}.log.{parse_id(JOB, job_id)}"


def node_grant(node_id: NodeId) -> str:
    """Return the subjects that a host may publish to."""
    return f"orq.node.{parse_id(NODE, node_id)}.>"


def node_inbox_prefix(node_id: NodeId) -> str:
    """Return the prefix of the only subjects that a host may subscribe to."""
    return f"_INBOX.{parse_id(NODE, node_id)}"


def event(noun: EventNoun, item_id: str) -> str:
    """Return the subject of events about one thing. Raises InvalidArgument, SUBJECT_INVALID."""
    if not _TOKEN.fullmatch(item_id):
        raise _invalid(item_id, "an id of up to 64 letters, digits, dashes and underscores")
    return f"orq.event.{noun.value}.{item_id}"


def run(run_id: RunId) -> str:
    """Return the subject of what a reasoning run thinks and does."""
    return f"orq.run.{parse_id(RUN, run_id)}"


def replica_link(replica: str) -> str:
    """Return the subject on which a replica answers about the links that it holds."""
    if not _TOKEN.fullmatch(replica):
        raise _invalid(replica, "a name of up to 64 letters, digits, dashes and underscores")
    return f"orq.replica.link.{replica}"


def events_of(noun: EventNoun) -> str:
    """Return the subject of all events of a kind."""
    return f"orq.event.{noun.value}.*"


def parse_node_subject(subject: str) -> NodeSubject:
    """Take apart the subject of a host's message.

    Raises:
        InvalidArgument: SUBJECT_INVALID or ID_INVALID.
    """
    match subject.split("."):
        case ["orq", "node", node_id, "log", job_id]:
            return NodeSubject(parse_id(NODE, node_id), NodeSubjectKind.LOG, parse_id(JOB, job_id))
        case ["orq", "node", node_id, "telemetry"]:
            return NodeSubject(parse_id(NODE, node_id), NodeSubjectKind.TELEMETRY)
        case _:
            raise _invalid(subject, "orq.node.<node id>.telemetry or .log.<job id>")


def parse_event_subject(subject: str) -> EventSubject:
    """Take apart the subject of an event.

    Raises:
        InvalidArgument: SUBJECT_INVALID.
    """
    match subject.split("."):
        case ["orq", "event", noun, item_id] if noun in _NOUNS and _TOKEN.fullmatch(item_id):
            return EventSubject(_NOUNS[noun], item_id)
        case _:
            raise _invalid(subject, "orq.event.<noun>.<id>")


_NOUNS: Final = {noun.value: noun for noun in EventNoun}


def _invalid(text: str, expected: str) -> InvalidArgument:
    return InvalidArgument(f"{text[:80]!a} is not {expected}", reason="SUBJECT_INVALID")
