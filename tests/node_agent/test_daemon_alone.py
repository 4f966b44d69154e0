"""The real daemon, cut off: it repairs itself as far as its signed policy allows."""

from datetime import UTC, datetime, timedelta

from node_agent.convert_repair import from_policy
from node_agent.health.model import Rung
from node_agent.repair.model import Allowance, LocalPolicy
from orquanta.v1 import job_pb2, repair_pb2
from tests.node_agent.daemon_process import DaemonProcess
from tests.node_agent.kernel_log import (
    CLEARED,
    GPUS,
    NODE,
    SUCCEEDED,
    Kernel,
    ended,
    eventually,
    gpus_of,
    of_kind,
    ready,
)
from tests.node_agent.site import Site, assignment


def signed(site: Site, *, lifetime: timedelta, after_seconds: float = 0.5) -> repair_pb2.SignedPolicy:
    now = datetime.now(UTC)
    policy = LocalPolicy(
        node_id=NODE,
        version=1,
        issued_at=now - timedelta(minutes=1),
        expires_at=now + lifetime,
        allowances={Rung.RESET_GPU: Allowance(2, 3600.0, may_stop_jobs=True)},
        total_count=3,
        total_period_seconds=86400.0,
        after_seconds=after_seconds,
    )
    return site.plane.authority.sign_policy(from_policy(policy))


async def held_policy(daemon: DaemonProcess, word: str) -> None:
    async def holds() -> bool:
        return str((await daemon.status())["policy"]).startswith(word)

    await eventually(holds)


async def test_alone_the_host_repairs_itself_as_its_signed_policy_allows_and_tells_on_return(
    site: Site, kernel: Kernel
) -> None:
    site.plane.policy = signed(site, lifetime=timedelta(hours=1))
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    await ready(daemon)
    await held_policy(daemon, "valid, version 1")
    await site.plane.stop_link()
    kernel.xid(62, gpus[0], "an error that a reset ends")

    async def repaired() -> bool:
        return any(report.state == SUCCEEDED for report in await daemon.ask(lambda local: local.repairs()))

    await eventually(repaired)
    await site.plane.start_link()
    await site.plane.wait_for(lambda: ended(site))
    report = ended(site)[0]
    assert (report.origin, report.rung) == (
        repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY,
        repair_pb2.REPAIR_RUNG_RESET_GPU,
    )
    assert report.policy_version == 1
    await site.plane.wait_for(lambda: of_kind(site, CLEARED, gpus[0].uuid))
    stream = await site.plane.up(streams=2)
    assert stream.hello is not None
    assert stream.hello.policy_version == 1


async def test_alone_without_a_policy_the_host_only_watches_and_takes_no_jobs(site: Site, kernel: Kernel) -> None:
    site.plane.policy = signed(site, lifetime=timedelta(seconds=4))
    daemon = await site.start(*GPUS, settings=kernel.settings)
    gpus = await gpus_of(site)
    await ready(daemon)
    await held_policy(daemon, "expired")
    await site.plane.stop_link()
    kernel.xid(62, gpus[0], "an error that a reset ends")

    async def cordoned() -> bool:
        return bool((await daemon.status())["cordoned"])

    await eventually(cordoned)
    status = await daemon.status()
    assert "its local policy has run out" in status["cordoned"]
    assert not await daemon.ask(lambda local: local.repairs())
    site.plane.desired = (assignment("echo again"),)
    await site.plane.start_link()
    report = await site.plane.reported(job_pb2.ALLOCATION_STATE_ENDED)
    assert (report.exit_reason, report.exit_code) == (job_pb2.EXIT_REASON_EXITED, 0)
    assert not (await daemon.status())["cordoned"]


async def test_a_policy_of_another_authority_is_not_held(site: Site, kernel: Kernel) -> None:
    policy = signed(site, lifetime=timedelta(hours=1))
    site.plane.policy = repair_pb2.SignedPolicy(policy=policy.policy, signature=b"x" * 70)
    daemon = await site.start(*GPUS, settings=kernel.settings)
    await site.plane.up()

    async def refused() -> bool:
        return "policy.refused" in daemon.log()

    await eventually(refused)
    assert (await daemon.status())["policy"] == "missing"
