"""When a host takes no jobs by its own decision."""

from datetime import UTC, datetime

import pytest

from node_agent.health.model import Condition, Scope, Severity
from node_agent.policy.cordon import cordon_reason
from node_agent.policy.keeper import PolicyStanding

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def condition(scope: Scope, severity: Severity) -> Condition:
    return Condition("host/disk/var", scope, "/var", "DISK_FULL", severity, "/var is full", NOW, NOW)


@pytest.mark.parametrize("standing", list(PolicyStanding))
def test_while_the_link_is_up_the_control_plane_decides(standing: PolicyStanding) -> None:
    found = [condition(Scope.HOST, Severity.FATAL)]
    assert not cordon_reason(link_down_seconds=None, standing=standing, after_seconds=1, conditions=found)


@pytest.mark.parametrize(
    ("down", "standing", "after", "words"),
    [
        (301, PolicyStanding.EXPIRED, 300, "has run out"),
        (299, PolicyStanding.EXPIRED, 300, ""),
        (61, PolicyStanding.MISSING, None, "no local policy"),
        (59, PolicyStanding.MISSING, None, ""),
        (99999, PolicyStanding.VALID, 300, ""),
    ],
)
def test_without_a_valid_policy_it_cordons_itself_once_the_link_has_been_down_for_long(
    down: float, standing: PolicyStanding, after: float | None, words: str
) -> None:
    reason = cordon_reason(link_down_seconds=down, standing=standing, after_seconds=after, conditions=[])
    assert words in reason
    assert bool(words) == bool(reason)


def test_a_fatal_condition_of_the_host_cordons_it_at_once_when_the_link_is_down() -> None:
    fatal = [condition(Scope.HOST, Severity.FATAL)]
    reason = cordon_reason(link_down_seconds=0, standing=PolicyStanding.VALID, after_seconds=300, conditions=fatal)
    assert "/var is full" in reason


@pytest.mark.parametrize("found", [condition(Scope.GPU, Severity.FATAL), condition(Scope.HOST, Severity.WARNING)])
def test_a_condition_of_one_gpu_or_a_warning_does_not(found: Condition) -> None:
    assert not cordon_reason(link_down_seconds=0, standing=PolicyStanding.VALID, after_seconds=300, conditions=[found])
