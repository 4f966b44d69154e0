import tomllib

import pytest

from node_agent.probe.custom import CustomCheck, parse_checks


def test_checks_are_read_from_the_configuration() -> None:
    text = """
        [[checks]]
        name = "nccl"
        command = ["/opt/checks/nccl", "--fast"]
        timeout_seconds = 30
        period_seconds = 300.5
        [[checks]]
        name = "disk.smart"
        command = ["/opt/checks/smart"]
    """
    assert parse_checks(tomllib.loads(text)["checks"]) == (
        CustomCheck("nccl", ("/opt/checks/nccl", "--fast"), 30.0, 300.5),
        CustomCheck("disk.smart", ("/opt/checks/smart",), 10.0, 60.0),
    )
    assert parse_checks([]) == ()


GOOD: dict[str, object] = {"name": "a", "command": ["/bin/true"]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("text", r"\[\[checks\]\]"),
        ({"name": "a"}, r"\[\[checks\]\]"),
        (["a"], "entry 1: must be a table"),
        ([GOOD, GOOD], "'a' is given twice"),
        ([{**GOOD, "interval": 3}], "unknown key interval. Known are: name, command"),
        ([{"command": ["/bin/true"]}], "entry 1: name is None"),
        ([{**GOOD, "name": "a b"}], "name is 'a b'"),
        ([{**GOOD, "name": "a" * 64}], "at most 63"),
        ([{"name": "a"}], "command is None; it must be a list"),
        ([{**GOOD, "command": "/bin/true"}], "it must be a list"),
        ([{**GOOD, "command": []}], "it must be a list"),
        ([{**GOOD, "command": ["/bin/true", 3]}], "it must be a list"),
        ([{**GOOD, "command": ["true"]}], "must be an absolute path"),
        ([{**GOOD, "command": ["/opt/../bin/true"]}], "without '..'"),
        ([{**GOOD, "command": ["/bin/true", "a\0b"]}], "NUL"),
        ([{**GOOD, "command": ["/bin/true"] * 65}], "64 arguments"),
        ([{**GOOD, "timeout_seconds": "3"}], "timeout_seconds is '3'; it must be a number"),
        ([{**GOOD, "timeout_seconds": True}], "must be a number"),
        ([{**GOOD, "timeout_seconds": 0}], "between 0.1 and 600"),
        ([{**GOOD, "period_seconds": float("nan")}], "between 1 and 86400"),
        ([{**GOOD, "name": str(number)} for number in range(33)], "at most 32"),
    ],
)
def test_what_is_wrong_is_said_with_what_it_must_be(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_checks(value)
