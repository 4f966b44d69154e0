import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.probe.custom.answer import AnswerInvalid, Finding, parse_answer
from node_agent.probe.observations import Standing

UUID = "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"


def test_one_finding_and_a_list_are_read() -> None:
    assert parse_answer(b'{"status": "Good"}') == {"": Finding(Standing.GOOD, "")}
    answer = [{"status": "bad", "message": "slow", "gpu_uuid": UUID}, {"status": "warning", "message": "warm"}]
    assert parse_answer(json.dumps(answer).encode()) == {
        UUID: Finding(Standing.BAD, "slow", UUID),
        "": Finding(Standing.WARNING, "warm"),
    }


def test_of_several_findings_about_one_thing_the_worst_counts() -> None:
    answer = [{"status": status, "message": status} for status in ("good", "bad", "warning")]
    assert parse_answer(json.dumps(answer).encode())[""].message == "bad"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"", "printed nothing"),
        (b"all fine\x1b[0m", r"no JSON: 'all fine\?\[0m'"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 60_000, "no JSON"),
        (b"3", "must be an object, not 3"),
        (b'["good"]', "must be an object"),
        (b"{}", "status is None"),
        (b'{"status": "ok"}', "status is 'ok'; it must be"),
        (b'{"status": ["good"]}', "it must be"),
        (b'{"status": "good", "message": 3}', "message is 3"),
        (b'{"status": "good", "gpu_uuid": "../x"}', "nvidia-smi -L"),
        (b'{"status": "good", "gpu_uuid": 7}', "gpu_uuid is 7"),
        (json.dumps([{"status": "good"}] * 65).encode(), "65 findings; 64 are allowed"),
    ],
)
def test_an_answer_of_another_form_is_refused_with_what_is_wrong(output: bytes, words: str) -> None:
    with pytest.raises(AnswerInvalid, match=words):
        parse_answer(output)


def test_messages_are_made_printable_and_short() -> None:
    finding = parse_answer(json.dumps({"status": "bad", "message": "a\x00\nb" + "c" * 9_000}).encode())[""]
    assert finding.message.isprintable()
    assert len(finding.message) <= 500


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(["status", "message", "gpu_uuid"]) | st.text(), inner)
            ),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_garbage_never_raises_anything_else(output: bytes) -> None:
    try:
        findings = parse_answer(output)
    except AnswerInvalid:
        return
    assert all(isinstance(finding.standing, Standing) for finding in findings.values())
