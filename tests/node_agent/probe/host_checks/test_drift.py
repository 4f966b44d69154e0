import pytest

from node_agent.probe.host_checks import ClockLimits
from node_agent.probe.host_checks.drift import ClockDrift, KernelClock, read_kernel_clock
from node_agent.probe.observations import HostFinding, Standing
from tests.node_agent.probe.steps import StepClock, only


def drift(state: KernelClock) -> ClockDrift:
    return ClockDrift(ClockLimits(), StepClock(), read=lambda: state)


def test_this_kernel_tells_of_its_clock() -> None:
    state = read_kernel_clock()
    assert state.error_seconds >= 0
    assert abs(state.offset_seconds) < 1_000


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (KernelClock(synchronised=True, offset_seconds=0.0001, error_seconds=0.02), Standing.GOOD),
        (KernelClock(synchronised=True, offset_seconds=-0.7, error_seconds=0.02), Standing.WARNING),
        (KernelClock(synchronised=True, offset_seconds=0, error_seconds=2), Standing.WARNING),
        (KernelClock(synchronised=False, offset_seconds=0, error_seconds=0), Standing.WARNING),
    ],
)
async def test_a_clock_that_nothing_keeps_right_is_a_warning(state: KernelClock, expected: Standing) -> None:
    (report,) = await drift(state).look()
    assert report.standing is expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.2, Standing.GOOD), (-3.0, Standing.WARNING), (90.0, Standing.BAD)]
)
async def test_the_drift_that_the_link_measures_is_reported(seconds: float, expected: Standing) -> None:
    watch = drift(KernelClock(synchronised=True, offset_seconds=0, error_seconds=0))
    watch.note_link_drift(seconds)
    report = only(await watch.look(), HostFinding.CLOCK_DRIFT, "link")
    assert report.standing is expected
    assert ("behind" if seconds < 0 else "ahead") in report.text


async def test_a_kernel_that_does_not_tell_leaves_the_clock_unknown() -> None:
    def refuse() -> KernelClock:
        raise PermissionError(1, "Operation not permitted")

    (report,) = await ClockDrift(ClockLimits(), StepClock(), read=refuse).look()
    assert report.standing is Standing.UNKNOWN
