"""Repairs, boots, people, repeat offenders, bounds, and what outlives the daemon."""

from dataclasses import replace
from datetime import timedelta

import pytest

from node_agent.health.model import MAXIMUM_CONDITIONS, ChangeKind, Rung, Severity
from node_agent.health.state import HealthState
from node_agent.probe.observations import HostFinding, HostReport, Standing
from node_agent.probe.samples import RecoveryAction
from tests.node_agent.health.host import Host, gpu, kinds, pci, uuid
from tests.node_agent.health.samples import batch, sample


def repair(host: Host, rung: Rung, *indices: int, succeeded: bool = True, service: str = "") -> None:
    gpus = [uuid(index) for index in indices]
    host.take(host.engine.note_repair(gpus, rung, succeeded, host.clock.now(), service=service))


def boot(host: Host, boot_id: str) -> None:
    host.take(host.engine.note_boot(boot_id, host.clock.now()))


# Repairs


def test_verified_reset_ends_what_asked_for_it_on_that_gpu_alone(host: Host) -> None:
    host.xid(0, 119)
    host.xid(0, 94, pid=7)
    host.xid(1, 119)
    repair(host, Rung.RESET_GPU, 0)
    assert list(host.conditions()) == [f"gpu/{uuid(1)}/xid-119"]
    assert host.changes[-1].reason == "repaired by RESET_GPU, and verified"


def test_restart_of_one_service_ends_nothing_that_asked_for_another(host: Host) -> None:
    for service in ("nvidia-fabricmanager", "nvidia-dcgm"):
        host.observe(HostReport(HostFinding.SERVICE, service, Standing.BAD, "dead", host.clock.now()))
    host.wait(20)
    repair(host, Rung.RESTART_SERVICE, service="nvidia-dcgm.service")
    assert list(host.conditions()) == ["host/service/nvidia-fabricmanager"]
    repair(host, Rung.RESTART_SERVICE, service="nvidia-fabricmanager", succeeded=False)
    assert list(host.conditions()) == ["host/service/nvidia-fabricmanager"]
    repair(host, Rung.RESTART_SERVICE, service="nvidia-fabricmanager")
    assert host.conditions() == {}


def test_repair_of_all_gpus_ends_what_switches_asked_for(host: Host) -> None:
    host.kernel("nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 12028, Fatal, Link 32 egress error")
    repair(host, Rung.RESET_GPU, 0)
    assert host.repairs() == {"link/0000:c1:00.0/nvlink-32/sxid-12028": "RESET_GPU"}
    repair(host, Rung.RESET_GPU)
    assert host.repairs() == {}


def test_gentler_repair_than_was_asked_for_ends_nothing(host: Host) -> None:
    host.xid(0, 79)
    repair(host, Rung.RESET_GPU, 0)
    assert host.repairs() == {f"gpu/{uuid(0)}/lost": "REBOOT_HOST"}
    repair(host, Rung.REBOOT_HOST, 0)
    assert host.repairs() == {}


def test_failed_repair_is_evidence_and_ends_nothing(host: Host) -> None:
    host.xid(0, 119)
    repair(host, Rung.RESET_GPU, 0, succeeded=False)
    (only,) = host.conditions().values()
    assert "the repair RESET_GPU failed" in [one.text for one in only.evidence]
    assert kinds(host.changes) == [ChangeKind.RAISED, ChangeKind.CHANGED]
    assert only.earlier_repairs == 0


def test_driver_s_statement_is_forgotten_with_the_repair_that_it_asked_for(host: Host) -> None:
    host.xid(0, 154, rest="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")
    repair(host, Rung.REBOOT_HOST, 0)
    host.xid(0, 119)
    assert host.repairs() == {f"gpu/{uuid(0)}/xid-119": "RESET_GPU"}


# Repeat offenders


def test_third_repair_of_a_gpu_within_30_days_makes_a_lemon(host: Host) -> None:
    for number in range(3):
        host.xid(0, 119)
        assert host.conditions()[f"gpu/{uuid(0)}/xid-119"].earlier_repairs == number
        repair(host, Rung.RESET_GPU, 0)
        host.clock.advance(5 * 86400)
    assert host.repairs() == {f"gpu/{uuid(0)}/lemon": "QUARANTINE"}
    assert host.conditions()[f"gpu/{uuid(0)}/lemon"].severity is Severity.FATAL
    repair(host, Rung.RESET_GPU, 0)
    boot(host, "a")
    boot(host, "b")
    assert f"gpu/{uuid(0)}/lemon" in host.repairs()


def test_repairs_that_lie_far_apart_make_no_lemon(host: Host) -> None:
    for _ in range(6):
        host.xid(0, 119)
        repair(host, Rung.RESET_GPU, 0)
        host.clock.advance(16 * 86400)
    assert host.repairs() == {}


def test_repairs_of_different_gpus_make_no_lemon(host: Host) -> None:
    for index in range(8):
        host.xid(index, 119)
        repair(host, Rung.RESET_GPU, index)
    assert host.repairs() == {}


def test_host_that_is_rebooted_for_repair_again_and_again_is_a_lemon(host: Host) -> None:
    for _ in range(3):
        repair(host, Rung.REBOOT_HOST)
    assert host.repairs() == {"host/lemon": "QUARANTINE"}


def test_operator_s_word_ends_a_lemon_and_its_count(host: Host) -> None:
    for _ in range(3):
        repair(host, Rung.RESET_GPU, 0)
    host.take(host.engine.clear(f"gpu/{uuid(0)}/lemon", "ada", host.clock.now()))
    repair(host, Rung.RESET_GPU, 0)
    assert host.conditions() == {}


def test_stopped_processes_and_verifications_are_no_repairs_of_a_gpu(host: Host) -> None:
    for _ in range(5):
        repair(host, Rung.STOP_PROCESS, 0)
        repair(host, Rung.VERIFY, 0)
    assert host.conditions() == {}


# Boots


def test_reboot_ends_what_it_cures_and_the_same_boot_nothing(host: Host) -> None:
    boot(host, "a")
    host.xid(0, 119)
    host.xid(1, 79)
    host.xid(2, 142)
    boot(host, "a")
    assert len(host.conditions()) == 3
    boot(host, "b")
    assert host.repairs() == {f"gpu/{uuid(2)}/xid-142": "QUARANTINE"}


def test_gpu_that_a_reboot_does_not_bring_back_needs_a_person(host: Host) -> None:
    boot(host, "a")
    host.xid(1, 79)
    boot(host, "b")
    host.take(host.engine.set_gpus([one for one in host.gpus if one.index != 1]))
    host.wait(130)
    assert host.repairs() == {f"gpu/{uuid(1)}/lost": "QUARANTINE"}


def test_gpu_that_vanishes_from_the_inventory_is_lost_and_forgotten_at_a_person_s_word(host: Host) -> None:
    rest = host.gpus[:-1]
    host.take(host.engine.set_gpus(rest))
    host.wait(100)
    assert host.changes == []
    host.wait(30)
    assert host.repairs() == {f"gpu/{uuid(7)}/lost": "REBOOT_HOST"}
    host.take(host.engine.clear(f"gpu/{uuid(7)}/lost", "ada", host.clock.now()))
    host.take(host.engine.set_gpus(rest))
    host.wait(300)
    assert host.conditions() == {}


def test_inventory_that_is_empty_for_a_while_loses_no_gpu(host: Host) -> None:
    host.take(host.engine.set_gpus([]))
    host.wait(300)
    assert host.changes == []


def test_new_board_in_the_slot_of_a_lost_one_has_its_own_faults(host: Host) -> None:
    board = replace(gpu(7), uuid="GPU-NEW", serial="new")
    host.take(host.engine.set_gpus([*host.gpus[:-1], board]))
    host.xid(7, 119)
    assert f"gpu/{board.uuid}/xid-119" in host.repairs()


# People


def test_acknowledged_condition_proposes_no_repair_even_when_it_is_seen_again(host: Host) -> None:
    host.xid(0, 119)
    (told,) = host.take(host.engine.acknowledge(f"gpu/{uuid(0)}/xid-119", "ada", host.clock.now()))
    assert (told.kind, told.condition.acknowledged_by, told.condition.repair) == (ChangeKind.CHANGED, "ada", None)
    assert told.condition.severity is Severity.FATAL
    host.clock.advance(5)
    host.xid(0, 119)
    assert host.repairs() == {}
    host.take(host.engine.clear(f"gpu/{uuid(0)}/xid-119", "ada", host.clock.now()))
    host.xid(0, 119)
    assert host.repairs() == {f"gpu/{uuid(0)}/xid-119": "RESET_GPU"}


def test_words_about_conditions_that_do_not_last_change_nothing(host: Host) -> None:
    assert host.engine.acknowledge("gpu/x/y", "ada", host.clock.now()) == []
    assert host.engine.clear("gpu/x/y", "ada", host.clock.now()) == []


def test_cleared_condition_whose_cause_goes_on_comes_back(host: Host) -> None:
    host.observe(HostReport(HostFinding.DISK_SPACE, "/", Standing.BAD, "100 %", host.clock.now()))
    host.take(host.engine.clear("host/disk/root", "ada", host.clock.now()))
    assert host.conditions() == {}
    host.wait(2)
    assert list(host.conditions()) == ["host/disk/root"]


# What outlives the daemon


def test_state_comes_back_from_json_as_it_was(host: Host) -> None:
    boot(host, "boot-1")
    host.observe(batch(host, [sample(0)]))
    for _ in range(250):
        host.xid(0, 119, pid=4242)
    host.xid(1, 79)
    host.xid(2, 13, pid=8)
    repair(host, Rung.RESET_GPU, 3)
    host.take(host.engine.acknowledge(f"gpu/{uuid(0)}/xid-119", "ada", host.clock.now()))
    text = host.engine.state().to_json()
    before = host.engine.conditions()
    restored = HealthState.from_json(text)
    assert restored.to_json() == text
    host.start(restored)
    assert host.engine.conditions() == before
    assert host.engine.state().to_json() == text
    host.take(host.engine.set_gpus(host.gpus))
    boot(host, "boot-1")
    told = host.xid(0, 119, pid=4242)
    assert told == [], "it is the same condition, and its count is not told anew"
    host.wait(700, step=10)
    assert sorted(host.conditions()) == [f"gpu/{uuid(0)}/xid-119", f"gpu/{uuid(1)}/lost"]


def test_repairs_before_a_restart_count_towards_a_lemon(host: Host) -> None:
    for _ in range(2):
        repair(host, Rung.RESET_GPU, 0)
    host.start(HealthState.from_json(host.engine.state().to_json()))
    host.take(host.engine.set_gpus(host.gpus))
    repair(host, Rung.RESET_GPU, 0)
    assert host.repairs() == {f"gpu/{uuid(0)}/lemon": "QUARANTINE"}


def test_uncorrected_errors_while_the_daemon_was_away_are_not_missed(host: Host) -> None:
    host.observe(batch(host, [sample(0)]))
    host.start(HealthState.from_json(host.engine.state().to_json()))
    host.take(host.engine.set_gpus(host.gpus))
    worse = replace(sample(0), ecc=replace(sample(0).ecc, uncorrected_volatile=2))
    host.observe(batch(host, [worse]))
    assert host.repairs() == {f"gpu/{uuid(0)}/ecc-uncorrected": "RESET_GPU"}


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"version": 2}', '{"version": 1, "boot_id": 3}', "[" * 100_000, "\x00\xff", '"' * 10],
)
def test_text_that_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        HealthState.from_json(text)


def test_cut_state_is_refused(host: Host) -> None:
    host.xid(0, 119)
    text = host.engine.state().to_json()
    for end in range(0, len(text), 7):
        with pytest.raises(ValueError, match=r".+"):
            HealthState.from_json(text[:end])


# Bounds


def test_more_conditions_than_can_be_kept_are_dropped_and_said_so_and_the_worst_stay(host: Host) -> None:
    for number in range(2000):
        host.kernel(f"NVRM: Xid (PCI:{number // 256:04x}:{number % 256:02x}:1f): 13, pid=7, name=x, y")
    assert len(host.engine.conditions()) <= MAXIMUM_CONDITIONS
    assert "host/conditions" in host.conditions()
    for index in range(8):
        host.xid(index, 95)
    assert len(host.engine.conditions()) <= MAXIMUM_CONDITIONS
    assert len(host.repairs()) == 8
    assert host.engine.conditions()[0].severity is Severity.FATAL


def test_a_flood_of_different_lines_tells_little(host: Host) -> None:
    for number in range(20_000):
        host.kernel(f"NVRM: Xid (PCI:{number % 65536:04x}:01:1f): 31, pid={number}, name=x, y{number}")
    assert len(host.changes) < 2 * MAXIMUM_CONDITIONS
    assert len(host.engine.state().to_json()) < 4 << 20


def test_conditions_come_worst_first(host: Host) -> None:
    host.xid(0, 13, pid=7)
    host.xid(1, 92)
    host.xid(2, 119)
    assert [one.severity for one in host.engine.conditions()] == [Severity.FATAL, Severity.WARNING, Severity.INFO]


def test_corrected_wall_clock_raises_and_clears_nothing(host: Host) -> None:
    hot = replace(sample(0), temperature_margin_celsius=0)
    host.observe(batch(host, [hot]))
    jumped = replace(batch(host, [hot]), sampled_at=host.clock.now() + timedelta(days=1))
    host.observe(jumped)
    assert host.conditions() == {}


def test_statement_of_nvml_survives_the_faults_of_another_gpu(host: Host) -> None:
    asking = replace(sample(0), recovery_action=RecoveryAction.GPU_RESET)
    host.observe(batch(host, [asking, sample(1)]))
    host.xid(1, 119)
    assert host.repairs() == {f"gpu/{uuid(0)}/recovery-action": "RESET_GPU", f"gpu/{uuid(1)}/xid-119": "RESET_GPU"}
    assert pci(0) != pci(1)
