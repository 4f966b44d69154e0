import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from control_plane.governor.policy.inputs import ActionInput, NodeInput, PolicyInput, time_input
from control_plane.governor.policy.samples import sample_inputs

_WHOLE = PolicyInput(
    action=ActionInput(
        kind='a "kind" of ü\n',
        arguments={"left": "out"},
        node=NodeInput(labels={"rack": "2", "pool": "ü"}),
        nodes=(NodeInput(id="n-1"), NodeInput(id="n-2")),
        gpu_types=("H100",),
    ),
    time=time_input(datetime(2026, 1, 31, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))),
)


@pytest.mark.parametrize("shown", [*sample_inputs().values(), PolicyInput(), _WHOLE])
def test_what_is_kept_is_what_rules_look_at_without_the_arguments(shown: PolicyInput) -> None:
    document = shown.document()
    del document["action"]["arguments"]
    spelled = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert shown.kept_json() == spelled
    assert datetime.fromisoformat(json.loads(spelled)["time"]["now"]).tzinfo is UTC
