"""Which rung a remembered failure passes over, and which it never does."""

from datetime import timedelta

import pytest

from control_plane.fleet import remembered
from control_plane.fleet.remembered import Fault, Lesson
from control_plane.model.memory import Memory, MemoryAction, MemoryKind, MemoryOutcome
from control_plane.model.repair import Rung
from tests.control_plane.clinic import condition
from tests.control_plane.memory.values import NOW, a_memory

FAULT = Fault(("xid:79",), "H100", "8x H100")
ALL = frozenset(Rung)


def failed(name: str, **changes: object) -> Memory:
    """The reset failed, and a reboot fixed it."""
    return a_memory(name, **{"fixed_count": changes.get("count", 1), **changes})


def fixed(name: str, **changes: object) -> Memory:
    actions = (MemoryAction("reset_gpu", MemoryOutcome.FIXED),)
    return a_memory(name, **{"actions": actions, "fixed_count": changes.get("count", 1), **changes})


def learnt(*memories: Memory) -> dict[Rung, Lesson]:
    return remembered.lessons(memories, FAULT, NOW)


def begun(*memories: Memory, rung: Rung = Rung.RESET_GPU, allowed: frozenset[Rung] = ALL) -> Rung:
    conditions = [condition("gpu/xid-79", NOW, gpu_uuid="GPU-1", repair=rung, process_ids=(1,), service="x")]
    chosen, passed = remembered.start(rung, conditions, (), learnt(*memories), allowed=allowed, jobs_in_the_way=False)
    assert bool(passed) is (chosen is not rung)
    return chosen


def test_a_rung_that_failed_is_passed_over_and_the_reason_names_the_memory() -> None:
    assert begun() is Rung.RESET_GPU
    assert begun(failed("a")) is Rung.RELOAD_DRIVER or begun(failed("a")) is Rung.RESTART_SERVICE
    lesson = learnt(failed("a", count=3))[Rung.RESET_GPU]
    assert (lesson.failures, lesson.successes, lesson.warns) == (3, 0, True)
    assert a_memory("a").id in lesson.words
    assert "reset gpu failed 3 of 3 times" in lesson.words
    assert f"{NOW:%Y-%m-%d}" in lesson.words


def test_the_rung_that_helped_in_the_end_is_no_warning() -> None:
    assert not learnt(failed("a"))[Rung.REBOOT_HOST].warns


def test_worse_counts_as_failed() -> None:
    worse = failed(
        "a", actions=(MemoryAction("reset_gpu", MemoryOutcome.WORSE),), outcome=MemoryOutcome.WORSE, fixed_count=0
    )
    assert learnt(worse)[Rung.RESET_GPU].warns


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"symptoms": ("xid:48",)}, id="another fault"),
        pytest.param({"gpu_type": "A100", "node_class": "8x A100"}, id="another kind of host"),
        pytest.param({"gpu_type": "", "node_class": ""}, id="an unknown kind of host"),
        pytest.param({"created_at": NOW - timedelta(days=31)}, id="long ago"),
        pytest.param({"created_at": NOW + timedelta(days=1)}, id="in the future"),
        pytest.param({"tenant": "ana"}, id="of a tenant"),
        pytest.param({"kind": MemoryKind.RUNBOOK}, id="a runbook"),
        pytest.param({"actions": (MemoryAction("reset_gpu", MemoryOutcome.UNKNOWN),)}, id="outcome not known"),
        pytest.param({"actions": (MemoryAction("rm -rf /", MemoryOutcome.FAILED),)}, id="no rung"),
    ],
)
def test_a_memory_of_something_else_says_nothing(changes: dict[str, object]) -> None:
    assert begun(failed("a", **changes)) is Rung.RESET_GPU


def test_one_of_gpu_and_host_alike_is_enough() -> None:
    assert begun(failed("a", gpu_type="")) is not Rung.RESET_GPU
    assert begun(failed("a", node_class="1x H100")) is not Rung.RESET_GPU


def test_failures_are_outweighed_by_as_many_successes() -> None:
    assert begun(failed("a", count=2), fixed("b", count=2)) is Rung.RESET_GPU
    assert begun(failed("a", count=3), fixed("b", count=2)) is not Rung.RESET_GPU


def test_successes_of_the_same_memory_count_though_it_failed_the_last_time() -> None:
    mixed = fixed("a", outcome=MemoryOutcome.FAILED, count=6, fixed_count=5)
    lesson = learnt(mixed)[Rung.RESET_GPU]
    assert (lesson.failures, lesson.successes) == (1, 5)
    assert begun(mixed) is Rung.RESET_GPU


def test_it_never_climbs_to_a_rung_that_is_not_allowed() -> None:
    assert begun(failed("a"), allowed=frozenset({Rung.RESET_GPU})) is Rung.RESET_GPU
    assert begun(failed("a"), allowed=frozenset({Rung.RESET_GPU, Rung.REBOOT_HOST})) is Rung.REBOOT_HOST


def test_memory_alone_never_puts_a_host_out_of_service() -> None:
    tools = ("reset_gpu", "restart_service", "reload_driver", "reboot_host")
    hopeless = failed("a", actions=tuple(MemoryAction(tool, MemoryOutcome.FAILED) for tool in tools), fixed_count=0)
    assert begun(hopeless) is Rung.RESET_GPU


def test_verification_is_never_passed_over() -> None:
    doubtful = failed("a", actions=(MemoryAction("verify", MemoryOutcome.FAILED),), fixed_count=0)
    assert learnt(doubtful)[Rung.VERIFY].warns
    assert begun(doubtful, rung=Rung.VERIFY) is Rung.VERIFY
