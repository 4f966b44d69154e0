import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from node_agent.probe.bounded.threads import DeadlineThreads
from node_agent.probe.host_checks import HostCheckSettings
from node_agent.probe.host_checks.port_files import list_ports, read_counters, read_port
from node_agent.probe.host_checks.ports import MEMORY_FILE, Ports
from node_agent.probe.observations import HostFinding, HostReport, Standing
from tests.node_agent.probe.host_checks.ports_tree import PortsTree
from tests.node_agent.probe.steps import PatientThreads, StepClock, only, until

PORT = "mlx5_0/1"


class Host:
    def __init__(self, directory: Path, clock: StepClock | None = None, *expected_ports: str) -> None:
        self.clock = clock or StepClock()
        self.tree = PortsTree(directory / "sys")
        self.state_dir = directory / "state"
        self.state_dir.mkdir(exist_ok=True)
        self.threads = DeadlineThreads(self.clock)
        settings = HostCheckSettings(
            state_dir=self.state_dir,
            sys_root=directory / "sys",
            expected_ports=expected_ports,
            deadline_seconds=30,
        )
        self.ports = Ports(settings, self.clock, self.threads)

    async def look(self, after_seconds: float = 1) -> list[HostReport]:
        self.clock.seconds += after_seconds
        return await self.ports.look()

    async def port(self, name: str = PORT, after_seconds: float = 1) -> HostReport:
        return only(await self.look(after_seconds), HostFinding.PORT, name)

    async def errors(self, after_seconds: float = 10) -> HostReport:
        return only(await self.look(after_seconds), HostFinding.PORT_ERRORS, PORT)


async def test_a_host_without_adapters_has_nothing_to_report(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert await host.look() == []
    assert not (host.state_dir / MEMORY_FILE).exists()


async def test_a_port_that_was_up_and_went_down_is_bad_until_it_is_up_again(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    up = await host.port()
    assert (up.standing, up.text) == (Standing.GOOD, "mlx5_0/1 is up at 400 Gb/s")
    host.tree.down(PORT)
    down = await host.port()
    assert down.standing is Standing.BAD
    assert "1: DOWN, 2: Polling" in down.text
    host.tree.put(PORT)
    assert (await host.port()).standing is Standing.GOOD


async def test_a_port_that_was_never_up_is_not_in_use(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.down(PORT)
    report = await host.port()
    assert report.standing is Standing.GOOD
    assert "not in use" in report.text


async def test_a_port_that_the_settings_expect_is_bad_while_it_is_down_or_absent(tmp_path: Path) -> None:
    host = Host(tmp_path, None, PORT, "mlx5_7/1")
    host.tree.down(PORT)
    reports = await host.look()
    assert only(reports, HostFinding.PORT, PORT).standing is Standing.BAD
    assert "gone" in only(reports, HostFinding.PORT, "mlx5_7/1").text


async def test_an_adapter_that_vanishes_takes_its_port_down(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    host.tree.put("mlx5_1/1", "1: DOWN", "3: Disabled")
    await host.look()
    host.tree.pull(PORT)
    host.tree.pull("mlx5_1/1")
    reports = await host.look()
    assert only(reports, HostFinding.PORT, PORT).standing is Standing.BAD
    assert only(reports, HostFinding.PORT, "mlx5_1/1").standing is Standing.GOOD
    assert [report.subject for report in await host.look()] == [PORT]


async def test_a_port_that_was_up_before_the_daemon_started_again_is_still_expected(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    await host.look()
    host.tree.down(PORT)
    restarted = Host(tmp_path, host.clock)
    assert (await restarted.port()).standing is Standing.BAD
    restarted.tree.put(PORT, rate="200")
    slower = await restarted.port()
    assert slower.standing is Standing.WARNING
    assert "200 Gb/s; it ran at 400 Gb/s" in slower.text


async def test_a_port_that_stays_down_for_a_week_is_not_expected_any_more(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    await host.look()
    host.tree.down(PORT)
    week = timedelta(days=7).total_seconds()
    assert (await host.port(after_seconds=week - 10)).standing is Standing.BAD
    assert (await host.port(after_seconds=20)).standing is Standing.GOOD
    restarted = Host(tmp_path, host.clock)
    assert (await restarted.port()).standing is Standing.GOOD


@pytest.mark.parametrize("damage", [b"", b"{", b'{"ports": []}', b'{"ports": {"a": 1}}', b"\xff\x00", b"[" * 60_000])
async def test_a_damaged_memory_of_ports_is_forgotten(tmp_path: Path, damage: bytes) -> None:
    host = Host(tmp_path)
    (host.state_dir / MEMORY_FILE).write_bytes(damage)
    host.tree.put(PORT)
    assert (await host.port()).standing is Standing.GOOD


async def test_a_port_that_goes_down_again_and_again_flaps(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    await host.look()
    for _ in range(3):
        host.tree.down(PORT)
        await host.look()
        host.tree.put(PORT)
        report = await host.port()
    assert report.standing is Standing.WARNING
    assert "3 times" in report.text
    assert (await host.port(after_seconds=700)).standing is Standing.GOOD


async def test_flaps_between_two_looks_are_seen_in_the_counter(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    host.tree.count(PORT, "link_downed", 5)
    assert (await host.port()).standing is Standing.GOOD
    host.tree.count(PORT, "link_downed", 9)
    reports = await host.look(10)
    assert only(reports, HostFinding.PORT, PORT).standing is Standing.WARNING
    errors = only(reports, HostFinding.PORT_ERRORS, PORT)
    assert errors.standing is Standing.WARNING
    assert "link_downed +4" in errors.text


async def test_only_growth_counts_and_it_is_forgotten_after_an_hour(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    host.tree.count(PORT, "symbol_error", 1_000_000)
    assert (await host.errors()).standing is Standing.GOOD
    host.tree.count(PORT, "symbol_error", 1_000_100)
    assert (await host.errors()).standing is Standing.GOOD
    host.tree.count(PORT, "symbol_error", 1_000_200)
    assert (await host.errors()).standing is Standing.WARNING
    assert (await host.errors(3_700)).standing is Standing.GOOD


async def test_a_counter_that_was_reset_starts_again(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    host.tree.count(PORT, "link_downed", 4_000_000_000)
    await host.errors()
    host.tree.count(PORT, "link_downed", 0)
    assert (await host.errors()).standing is Standing.GOOD
    host.tree.count(PORT, "link_downed", 1)
    assert (await host.errors()).standing is Standing.WARNING


async def test_counters_are_read_less_often_than_states(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    findings = [{report.finding for report in await host.look()} for _ in range(3)]
    assert HostFinding.PORT_ERRORS in findings[0]
    assert findings[1] == findings[2] == {HostFinding.PORT}


async def test_adapters_that_hang_are_unknown_then_bad_and_stall_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tree.put(PORT)
    await host.look()
    state = host.tree.directory(PORT) / "state"
    state.unlink()
    os.mkfifo(state)  # reading blocks until somebody writes, as firmware that does not answer
    settings = HostCheckSettings(state_dir=host.state_dir, sys_root=tmp_path / "sys", deadline_seconds=0.05)
    threads = PatientThreads(host.clock, lambda key: key == "ports")
    watch = Ports(settings, host.clock, threads)
    first, second = await watch.look(), await watch.look()
    assert only(first, HostFinding.PORT, "all ports").standing is Standing.UNKNOWN
    assert only(second, HostFinding.PORT, "all ports").standing is Standing.BAD
    assert threads.taken == 1
    writer = threading.Thread(target=lambda: state.write_text("4: ACTIVE\n"))
    writer.start()
    await until(lambda: not threads.taken)
    writer.join()
    state.unlink()
    host.tree.put(PORT)
    answers: list[HostReport] = []
    while not any(report.subject == "all ports" and report.standing is Standing.GOOD for report in answers):
        answers = await watch.look()


def test_names_that_are_no_devices_and_floods_of_ports_are_left_out(tmp_path: Path) -> None:
    tree = PortsTree(tmp_path)
    for name in ("mlx5_0/1", "mlx5_0/evil", "bad name/1", "-/2"):
        tree.put(name)
    assert list_ports(tmp_path) == ["-/2", "mlx5_0/1"]
    for number in range(100):
        tree.put(f"x{number}/1")
    assert len(list_ports(tmp_path)) == 64


def test_garbage_in_the_files_is_no_figure(tmp_path: Path) -> None:
    tree = PortsTree(tmp_path)
    tree.put(PORT, state="\x1b]0;x\x07" + "z" * 10_000, rate="fast")
    tree.count(PORT, "symbol_error", -5)
    (tree.directory(PORT) / "counters/link_downed").write_bytes(os.urandom(5_000))
    port = read_port(tmp_path, PORT)
    assert port is not None
    assert port.state.isprintable()
    assert len(port.state) <= 40
    assert (port.up, port.rate_gbps) == (False, None)
    counters = read_counters(tmp_path, PORT)
    assert "symbol_error" not in counters
    assert "link_downed" not in counters
    assert counters["link_error_recovery"] == 0
