import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.bus.streams import stream_specs
from control_plane.bus.subjects import (
    EventNoun,
    EventSubject,
    NodeSubject,
    NodeSubjectKind,
    event,
    node_grant,
    node_inbox_prefix,
    node_log,
    node_telemetry,
    parse_event_subject,
    parse_node_subject,
)
from control_plane.errors import InvalidArgument
from control_plane.model.ids import JOB, NODE, JobId, NodeId, derived_id

nodes = st.text().map(lambda text: derived_id(NODE, text))
jobs = st.text().map(lambda text: derived_id(JOB, text))
HOSTILE = [
    "",
    "*",
    ">",
    "a.b",
    "n-0123456789ab.>",
    "n-0123456789ab ",
    "n-0123456789ab\r\nPUB x",
    "n-*",
    "j-0123456789ab\t",
]


@given(nodes, jobs)
def test_subjects_of_a_node_parse_to_what_they_were_made_of(node_id: NodeId, job_id: JobId) -> None:
    assert parse_node_subject(node_telemetry(node_id)) == NodeSubject(node_id, NodeSubjectKind.TELEMETRY)
    assert parse_node_subject(node_log(node_id, job_id)) == NodeSubject(node_id, NodeSubjectKind.LOG, job_id)
    assert node_telemetry(node_id).startswith(node_grant(node_id)[:-1])


@given(st.sampled_from(EventNoun), st.from_regex("[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_event_subjects_parse_to_what_they_were_made_of(noun: EventNoun, item_id: str) -> None:
    assert parse_event_subject(event(noun, item_id)) == EventSubject(noun, item_id)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_ids_make_no_subject(hostile: str) -> None:
    for build in (node_telemetry, node_grant, node_inbox_prefix):
        with pytest.raises(InvalidArgument):
            build(NodeId(hostile))
    with pytest.raises(InvalidArgument):
        node_log(NodeId("n-0123456789ab"), JobId(hostile))


@pytest.mark.parametrize("hostile", ["", "*", ">", "a.b", "a b", "a\r\nb", "é", "x" * 65])
def test_hostile_event_ids_make_no_subject(hostile: str) -> None:
    with pytest.raises(InvalidArgument):
        event(EventNoun.JOB, hostile)


@given(
    st.text()
    | st.lists(st.sampled_from(["orq", "node", "event", "log", "job", "*", "n-0123456789ab", ""])).map(".".join)
)
def test_other_subjects_are_refused_and_nothing_else_happens(subject: str) -> None:
    for parse in (parse_node_subject, parse_event_subject):
        with pytest.raises(InvalidArgument):
            parse(subject)


def test_every_stream_is_bounded_in_every_way() -> None:
    for spec in stream_specs(replicas=3):
        assert spec.replicas == 3
        assert 0 < spec.max_bytes <= 1 << 30
        assert 0 < spec.max_age_seconds <= 7 * 86_400
        assert spec.max_messages_per_subject > 0
        assert 0 < spec.max_message_bytes <= 1 << 20
        assert 0 < spec.duplicate_window_seconds <= spec.max_age_seconds
