"""What a member may ask for, and what is refused with a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.jobs.spec import InvalidSpecError, MemberKey, MemberSpec
from tests.node_agent.jobs.host import spec


@pytest.mark.parametrize(
    "name", ["../a.0", "a/../../etc.0", "A.0", "a.-1", "a.01", "a", ".0", "a.99999", "a\n.0", "a.0/"]
)
def test_a_directory_name_that_is_not_a_key_is_not_taken_for_one(name: str) -> None:
    assert MemberKey.parse(name) is None


@given(st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True), st.integers(0, 16_383))
def test_keys_survive_being_directory_names(allocation_id: str, rank: int) -> None:
    key = MemberKey(allocation_id, rank)
    assert MemberKey.parse(str(key)) == key
    assert Path(str(key)).name == str(key)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allocation_id", "../../etc"),
        ("allocation_id", ""),
        ("job_id", "j/1"),
        ("epoch", 0),
        ("rank", -1),
        ("rank", 1),
        ("world", 0),
        ("command", ""),
        ("command", ()),
        ("command", "a\0b"),
        ("command", "x" * 200_000),
        ("command", ("x",) * 2000),
        ("gpu_uuids", ("GPU-1", "GPU-1")),
        ("gpu_uuids", ("GPU-1,GPU-2",)),
        ("gpu_uuids", ("--privileged",)),
        ("gpus_per_node", -8),
        ("env", {"A=B": "c"}),
        ("env", {"": "c"}),
        ("env", {"1A": "c"}),
        ("env", {"A": "\0"}),
        ("env", {"A": "x" * 300_000}),
        ("env", {f"A{n}": "x" for n in range(1000)}),
        ("image", "--privileged"),
        ("image", "a b"),
        ("image", ""),
        ("working_dir", "relative"),
        ("working_dir", "/a\0"),
        ("max_runtime_seconds", 0),
        ("max_runtime_seconds", float("nan")),
        ("stop_grace_seconds", -1),
        ("stop_grace_seconds", float("inf")),
        ("memory_limit_bytes", -1),
        ("cpu_limit_milli", 0),
        ("pids_limit", 2**63),
        ("master_addr", "host;rm -rf"),
        ("master_port", 0),
        ("master_port", 65536),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(field: str, value: Any) -> None:  # any wrong value
    fields: dict[str, Any] = {
        "allocation_id": "a-1",
        "job_id": "j-1",
        "epoch": 1,
        "rank": 0,
        "world": 1,
        "command": "true",
    }
    with pytest.raises(InvalidSpecError, match=r"is not allowed; give "):
        MemberSpec(**{**fields, field: value})


def test_a_specification_survives_json() -> None:
    for job in (
        spec("one", "echo 'hällo' \udcff", env={"A": "b\nc"}, gpu_uuids=("GPU-1",), max_runtime_seconds=1.5),
        spec("two", ("python3", "-m", "x"), image="docker.io/library/busybox:1.36@sha256:" + "0" * 64),
    ):
        assert MemberSpec.from_json(json.loads(json.dumps(job.to_json()))) == job
