"""The local policy with a real certificate authority, a real child process, and clocks that lie."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node_agent.convert_repair import from_policy, to_policy
from node_agent.health.model import Rung
from node_agent.policy.keeper import PolicyKeeper, PolicyStanding
from node_agent.repair.model import Allowance, LocalPolicy
from orquanta.v1 import repair_pb2
from tests.node_agent.pki import Authority

START = datetime(2026, 5, 1, tzinfo=UTC)
NODE = "n-0123456789ab"


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.wall = START
        self.seconds = 5000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def boottime(self) -> float:
        return self.seconds

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += timedelta(seconds=seconds)


class Host:
    """A host with a disk, clocks and a trusted authority, over restarts and reboots."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clocks = Clocks()
        self.authority = Authority()
        self.boot_id = "boot-1"
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(self.authority.pem)

    async def start(self) -> PolicyKeeper:
        keeper = PolicyKeeper(
            self.directory / "policy.json",
            node_id=NODE,
            ca_file=lambda: self.ca_file,
            clock=self.clocks,
            boot_clock=self.clocks,
            boot_id=self.boot_id,
        )
        await keeper.load()
        return keeper

    def signed(
        self, version: int = 1, *, hours: float = 24, node_id: str = NODE, issued_at: datetime | None = None
    ) -> repair_pb2.SignedPolicy:
        issued = issued_at or self.clocks.wall
        return self.authority.sign_policy(from_policy(policy(version, issued, hours=hours, node_id=node_id)))


def policy(version: int, issued_at: datetime, *, hours: float = 24, node_id: str = NODE) -> LocalPolicy:
    return LocalPolicy(
        node_id=node_id,
        version=version,
        issued_at=issued_at,
        expires_at=issued_at + timedelta(hours=hours),
        allowances={Rung.RESET_GPU: Allowance(2, 3600.0, may_stop_jobs=True)},
        total_count=3,
        total_period_seconds=86400.0,
        after_seconds=300.0,
    )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def test_a_signed_policy_is_taken_and_kept_over_a_restart(host: Host) -> None:
    keeper = await host.start()
    assert (keeper.current(), keeper.standing(), keeper.version) == (None, PolicyStanding.MISSING, 0)
    assert await keeper.offer(host.signed(4))
    assert keeper.current() == policy(4, START)
    again = await host.start()
    assert again.current() == policy(4, START)
    assert again.version == 4


def test_a_policy_survives_the_wire() -> None:
    assert to_policy(from_policy(policy(4, START))) == policy(4, START)


async def test_a_policy_that_another_authority_signed_is_refused(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = await host.start()
    forged = Authority().sign_policy(from_policy(policy(1, START)))
    assert not await keeper.offer(forged)
    assert keeper.current() is None
    assert "not signed by the certificate authority" in capsys.readouterr().out


async def test_a_policy_that_was_changed_after_signing_is_refused(host: Host) -> None:
    keeper = await host.start()
    signed = host.signed(1)
    more = from_policy(policy(1, START, hours=9000)).SerializeToString()
    assert not await keeper.offer(repair_pb2.SignedPolicy(policy=more, signature=signed.signature))
    assert not await keeper.offer(repair_pb2.SignedPolicy(policy=b"\xff" * 10, signature=b"x"))
    assert keeper.standing() is PolicyStanding.MISSING


async def test_a_policy_for_another_node_is_refused(host: Host) -> None:
    keeper = await host.start()
    assert not await keeper.offer(host.signed(1, node_id="n-ffffffffffff"))
    assert keeper.current() is None


async def test_an_older_policy_is_refused_even_after_a_restart_and_even_if_the_file_lost_the_newer_one(
    host: Host,
) -> None:
    keeper = await host.start()
    old = host.signed(3)
    assert await keeper.offer(host.signed(5))
    assert not await keeper.offer(old)
    again = await host.start()
    assert not await again.offer(old)
    assert again.version == 5


async def test_the_same_version_signed_later_prolongs_it(host: Host) -> None:
    keeper = await host.start()
    assert await keeper.offer(host.signed(5))
    host.clocks.pass_time(3600)
    assert await keeper.offer(host.signed(5))
    held = keeper.current()
    assert held is not None
    assert held.expires_at == START + timedelta(hours=25)


async def test_the_same_policy_under_another_signature_is_no_news(host: Host) -> None:
    keeper = await host.start()
    first, second = host.signed(5), host.signed(5)
    assert first.policy == second.policy
    assert first.signature != second.signature
    assert await keeper.offer(first)
    assert await keeper.offer(second)
    assert keeper.version == 5


async def test_a_policy_runs_out(host: Host) -> None:
    keeper = await host.start()
    await keeper.offer(host.signed(hours=1))
    host.clocks.pass_time(3599)
    assert keeper.current() is not None
    host.clocks.pass_time(1)
    assert keeper.current() is None
    assert keeper.standing() is PolicyStanding.EXPIRED
    assert keeper.held is not None


async def test_a_clock_set_back_does_not_revive_it_nor_prolong_it(host: Host) -> None:
    keeper = await host.start()
    await keeper.offer(host.signed(hours=1))
    host.clocks.pass_time(1800)
    assert keeper.current() is not None
    host.clocks.wall -= timedelta(days=30)
    host.clocks.pass_time(1799)
    assert keeper.current() is not None
    host.clocks.pass_time(2)
    assert keeper.current() is None
    host.clocks.wall -= timedelta(days=30)
    assert keeper.current() is None


async def test_a_clock_that_was_behind_from_the_start_gives_it_no_longer_life(host: Host) -> None:
    keeper = await host.start()
    issued_at = host.clocks.wall
    host.clocks.wall -= timedelta(days=10)
    await keeper.offer(host.signed(hours=1, issued_at=issued_at))
    assert keeper.current() is not None
    host.clocks.pass_time(3601)
    assert keeper.current() is None


async def test_what_has_run_out_stays_so_over_a_restart_and_over_a_reboot_with_the_clock_set_back(host: Host) -> None:
    keeper = await host.start()
    await keeper.offer(host.signed(hours=1))
    host.clocks.pass_time(3601)
    assert keeper.standing() is PolicyStanding.EXPIRED
    host.clocks.wall = START
    assert (await host.start()).current() is None
    host.boot_id, host.clocks.seconds = "boot-2", 10.0
    assert (await host.start()).standing() is PolicyStanding.EXPIRED


async def test_a_reboot_with_the_clock_set_back_revives_nothing_that_the_daemon_was_not_there_to_see_run_out(
    host: Host,
) -> None:
    keeper = await host.start()
    await keeper.offer(host.signed(hours=1))
    host.clocks.pass_time(3000)
    keeper._store(replace(keeper._stored, latest_time=keeper._time()))  # as `run` does every ten minutes
    host.boot_id, host.clocks.seconds, host.clocks.wall = "boot-2", 10.0, START
    again = await host.start()
    assert again.current() is not None
    host.clocks.pass_time(601)
    assert again.current() is None


async def test_the_control_plane_can_say_it_again_after_the_clock_had_jumped_ahead(host: Host) -> None:
    keeper = await host.start()
    signed = host.signed(hours=1)
    await keeper.offer(signed)
    host.clocks.wall += timedelta(days=3000)
    assert keeper.current() is None
    host.clocks.wall -= timedelta(days=3000)
    assert keeper.current() is None
    assert await keeper.offer(signed)
    assert keeper.current() is not None


async def test_a_damaged_file_is_as_if_there_were_none_and_is_said(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    (host.directory / "policy.json").write_text("{")
    keeper = await host.start()
    assert keeper.standing() is PolicyStanding.MISSING
    assert "policy.not_usable" in capsys.readouterr().out
    assert await keeper.offer(host.signed())


async def test_a_file_that_someone_wrote_by_hand_is_not_obeyed(host: Host) -> None:
    keeper = await host.start()
    await keeper.offer(host.signed(hours=1))
    file = host.directory / "policy.json"
    forged = Authority().sign_policy(from_policy(policy(1, START, hours=9000)))
    keeper._accept(policy(1, START), forged.SerializeToString(deterministic=True))
    assert file.exists()
    assert (await host.start()).current() is None
