"""Every XID of the catalogue, from a line of the kernel to the repair that is proposed."""

import pytest

from node_agent.health.model import Authority, Rung, Severity
from node_agent.probe.catalogue.catalogue import all_sxids, all_xids
from tests.node_agent.health.host import Host, uuid

RESET = {46, 48, 62, 64, 74, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158, 159}
RESET_BY_RULE = {167, 169, 173}
"""Fatal by this product's own judgement, where the vendor names no action."""
REBOOT = {79, 151}
UNUSED = (
    *range(1, 8), 9, 10, 12, *range(15, 25), *range(26, 31), *range(33, 37), 42, 47, *range(49, 54), *range(55, 60),
    61, 65, 73, 81, 87, 90, 91, *range(111, 119), *range(122, 126), 138,
)  # fmt: skip
"""Codes without a use on present GPUs: the vendor says to contact support."""
QUARANTINE = {*UNUSED, 54, 142}
WATCH = {38, 44, 66, 67, 78, 92, 93, 94, 157, 160, 161, 163, 164, 165, 166, 168, 170, 171, 172, 175, 176}
"""A warning without a repair."""
UNDECODED = set(range(144, 151))
"""Their repair depends on codes that this line does not have: see `test_codes_of_nvlink_5`."""
INFORM = {14, 37, 43, 45, 63, 106, 107, 108, 121, 137, 141, 152, 153, 162, 174}
APPLICATION = {
    8, 11, 13, 25, 31, 32, 39, 40, 41, 60, *range(68, 73), 69, 75, 76, 77, 80, 82, 83, 84, 85, 86, 88, 89,
    *range(96, 106), *range(126, 136), 139,
}  # fmt: skip
"""The application must be restarted, which whoever runs it does."""


def expected(code: int) -> tuple[Severity, Rung | None]:
    if code in RESET | RESET_BY_RULE:
        return Severity.FATAL, Rung.RESET_GPU
    if code in REBOOT:
        return Severity.FATAL, Rung.REBOOT_HOST
    if code in QUARANTINE:
        return Severity.FATAL, Rung.QUARANTINE
    if code in WATCH | UNDECODED:
        return Severity.WARNING, None
    assert code in INFORM | APPLICATION, f"XID {code} has no expected action: add it here"
    return Severity.INFO, None


def every_other_code() -> list[int]:
    return [entry.code for entry in all_xids() if entry.code != 154]


@pytest.mark.parametrize("code", every_other_code())
def test_xid_proposes_what_the_vendor_says(code: int) -> None:
    host = Host()
    host.xid(3, code, pid=4242, rest="Ch 00000001")
    (only,) = host.conditions().values()
    assert (only.severity, only.repair) == expected(code)
    assert (only.gpu_uuid, only.code) == (uuid(3), code)
    assert only.sticky is (only.repair is not None)
    if only.repair is None:
        assert only.authority is None
    else:
        assert only.authority is (Authority.RULE if code in RESET_BY_RULE else Authority.CATALOGUE)
    assert only.vendor_action == next(entry.immediate_action.value for entry in all_xids() if entry.code == code)


@pytest.mark.parametrize(
    ("words", "number", "repair"),
    [
        ("GPU Reset Required", 1, Rung.RESET_GPU),
        ("Node Reboot Required", 2, Rung.REBOOT_HOST),
        ("Drain P2P", 3, Rung.MOVE_JOB),
        ("Drain and Reset", 4, Rung.RESET_GPU),
    ],
)
def test_stated_action_is_obeyed(words: str, number: int, repair: Rung) -> None:
    host = Host()
    host.xid(3, 154, rest=f"GPU recovery action changed from 0x0 (None) to {number:#x} ({words})")
    (only,) = host.conditions().values()
    assert (only.repair, only.authority, only.severity) == (repair, Authority.DRIVER, Severity.FATAL)


@pytest.mark.parametrize("code", every_other_code())
def test_driver_wins_over_the_catalogue_for_every_xid_that_is_worse_than_news(code: int) -> None:
    host = Host()
    host.xid(3, code, pid=4242, rest="Ch 00000001")
    host.xid(3, 154, rest="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")
    assert set(host.repairs().values()) == {"REBOOT_HOST"}


@pytest.mark.parametrize("fatal", [True, False, None])
def test_every_sxid_becomes_a_condition_of_its_link(fatal: bool | None) -> None:
    words = {True: "Fatal, ", False: "Non-fatal, ", None: ""}[fatal]
    for entry in all_sxids():
        host = Host()
        host.kernel(f"nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): {entry.code}, {words}Link 32 egress error")
        (only,) = host.conditions().values()
        assert (only.kind, only.code, only.id) == ("SXID", entry.code, f"link/0000:c1:00.0/nvlink-32/sxid-{entry.code}")
        assert only.gpu_uuid == ""
        if fatal is True:
            assert only.severity is Severity.FATAL
            assert only.repair in (Rung.RESET_GPU, Rung.REBOOT_HOST, Rung.QUARANTINE)
        elif fatal is False:
            assert only.severity < Severity.FATAL
            assert only.repair is None
