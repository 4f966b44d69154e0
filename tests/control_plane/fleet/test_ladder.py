from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet import ladder
from control_plane.fleet.ladder import LADDER, InTheWay, choose, height, in_the_way
from control_plane.model.health import Condition
from control_plane.model.repair import Rung
from tests.control_plane.clinic import condition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALL = frozenset(Rung)


def asking(rung: Rung | None, **changes: object) -> Condition:
    return condition(f"c-{rung}", NOW, gpu_uuid="GPU-1", repair=rung, **changes)  # type: ignore[arg-type] # as `condition`


troubles = st.lists(
    st.builds(
        lambda rung, gpu, service, pids: condition(
            f"c-{rung}-{gpu}", NOW, gpu_uuid=gpu, repair=rung, service=service, process_ids=pids
        ),
        st.sampled_from([None, *(rung for rung in Rung)]),
        st.sampled_from(["", "GPU-1", "GPU-2"]),
        st.sampled_from(["", "nvidia-persistenced"]),
        st.sampled_from([(), (7,)]),
    ),
    min_size=1,
    max_size=4,
)
tried = st.lists(st.sampled_from([rung for rung in LADDER if rung is not Rung.QUARANTINE]), max_size=4)
some = st.frozensets(st.sampled_from(list(Rung)))


@given(troubles, tried, some, st.booleans())
def test_the_ladder_is_only_ever_climbed(
    conditions: list[Condition], before: list[Rung], allowed: frozenset[Rung], jobs: bool
) -> None:
    rung = choose(conditions, before, allowed=allowed, jobs_in_the_way=jobs)
    if rung is not None:
        assert all(height(rung) > height(one) for one in before)
        assert rung is Rung.QUARANTINE or rung in allowed


@given(troubles, some, st.booleans())
def test_every_climb_ends(conditions: list[Condition], allowed: frozenset[Rung], jobs: bool) -> None:
    before: list[Rung] = []
    while (rung := choose(conditions, before, allowed=allowed, jobs_in_the_way=jobs)) not in (None, Rung.QUARANTINE):
        assert rung is not None
        before.append(rung)
        assert len(before) <= len(LADDER)


@given(troubles, some, st.booleans())
def test_the_first_rung_is_no_gentler_than_any_condition_needs(
    conditions: list[Condition], allowed: frozenset[Rung], jobs: bool
) -> None:
    rung = choose(conditions, (), allowed=allowed, jobs_in_the_way=jobs)
    wanted = ladder.asked(conditions)
    if rung is not None and wanted is not None:
        assert height(rung) >= height(wanted)


def test_what_nobody_can_stop_is_not_made_worse() -> None:
    assert choose([asking(Rung.STOP_PROCESS)], (), allowed=ALL, jobs_in_the_way=False) is None
    assert choose([asking(Rung.STOP_PROCESS)], (), allowed=ALL, jobs_in_the_way=True) is Rung.MOVE_JOB
    named = asking(Rung.STOP_PROCESS, process_ids=(7,))
    assert choose([named], (), allowed=ALL, jobs_in_the_way=True) is Rung.STOP_PROCESS


def test_an_acknowledged_condition_asks_for_nothing() -> None:
    assert choose([asking(Rung.REBOOT_HOST, acknowledged_by="op")], (), allowed=ALL, jobs_in_the_way=False) is None


def test_a_rung_that_may_not_be_climbed_is_skipped() -> None:
    allowed = ALL - {Rung.RESET_GPU, Rung.RELOAD_DRIVER}
    assert choose([asking(Rung.RESET_GPU)], (), allowed=allowed, jobs_in_the_way=False) is Rung.REBOOT_HOST


def test_a_host_without_a_gpu_in_trouble_gets_no_reset() -> None:
    whole = condition("host/x", NOW, repair=Rung.VERIFY)
    assert choose([whole], [Rung.VERIFY], allowed=ALL, jobs_in_the_way=False) is Rung.RELOAD_DRIVER


@pytest.mark.parametrize(
    ("rung", "service", "expected"),
    [
        (Rung.STOP_PROCESS, "", InTheWay.NONE),
        (Rung.RESET_GPU, "", InTheWay.ON_GPUS),
        (Rung.VERIFY, "", InTheWay.ON_GPUS),
        (Rung.RESTART_SERVICE, "nvidia-persistenced", InTheWay.NONE),
        (Rung.RESTART_SERVICE, "nvidia-fabricmanager.service", InTheWay.ALL),
        (Rung.RELOAD_DRIVER, "", InTheWay.ALL),
        (Rung.REBOOT_HOST, "", InTheWay.ALL),
        (Rung.QUARANTINE, "", InTheWay.ALL),
    ],
)
def test_only_jobs_that_a_repair_disturbs_are_in_its_way(rung: Rung, service: str, expected: InTheWay) -> None:
    assert in_the_way(rung, service) is expected


def test_every_rung_has_a_place_and_a_deadline() -> None:
    assert set(LADDER) == set(Rung) == set(ladder.DEADLINE_SECONDS)
