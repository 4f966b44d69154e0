import pytest

from node_agent.probe.catalogue.catalogue import read_rows
from node_agent.probe.catalogue.model import VendorAction
from node_agent.probe.catalogue.nvlink import find_nvlink_action

OLD = "570.148.08"
NEW = "580.105.08"
RULES = list(read_rows("nvlink.csv"))


@pytest.mark.parametrize(
    ("driver", "intrinfo", "action"),
    [
        (OLD, 0x00000082, VendorAction.RESET_GPU),
        (OLD, 0x00000004, None),
        (NEW, 0x00000004, VendorAction.RESET_GPU),
        (NEW, 0x00000082, None),
    ],
)
def test_the_bits_are_read_as_the_drivers_generation_writes_them(
    driver: str, intrinfo: int, action: VendorAction | None
) -> None:
    assert find_nvlink_action(145, "RLW_REMAP", intrinfo, 0x40, driver) is action


@pytest.mark.parametrize("intrinfo", [0x82, 0x04])
def test_without_a_known_driver_the_unit_must_fit_too(intrinfo: int) -> None:
    assert find_nvlink_action(145, "RLW_REMAP", intrinfo, 0x40) is VendorAction.RESET_GPU
    assert find_nvlink_action(145, "RLW_TAGSTATE", intrinfo, 0x40) is None


@pytest.mark.parametrize(
    ("code", "unit", "intrinfo", "status", "action"),
    [
        (149, "NETIR_LINK_EVT", 0x025525C6, 0x0, VendorAction.RESET_GPU),
        (149, "NETIR_LINK_EVT", 0x026001C6, 0x0, VendorAction.IGNORE),
        (149, "NETIR_BER_EVENT", 0x00086226, 0x1, VendorAction.IGNORE),
        (149, "NETIR", 0x000FE406, 0x0, VendorAction.RESET_GPU),
        (145, "RLW_SRC_TRACK", 0x040868E2, 0x8, VendorAction.XID_154_EVAL),
        (145, "RLW_RXPIPE", 0x0409A0C2, 0x8, VendorAction.IGNORE),
        (144, "SAW_MVB", 0x00000021, 0x2, VendorAction.RESET_GPU),
    ],
)
def test_lines_of_drivers_before_r575_decode(
    code: int, unit: str, intrinfo: int, status: int, action: VendorAction
) -> None:
    assert find_nvlink_action(code, unit, intrinfo, status, OLD) is action


def test_an_error_that_was_promoted_to_fatal_needs_a_reset() -> None:
    assert find_nvlink_action(145, "RLW_RXPIPE", 0x06, 0x1, NEW) is VendorAction.IGNORE
    assert find_nvlink_action(145, "RLW_RXPIPE", 0x86, 0x1, NEW) is VendorAction.RESET_GPU


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['xid']}-{rule['unit']}-{rule['error_status']}")
def test_each_row_of_the_table_is_found_in_both_generations(rule: dict[str, str]) -> None:
    statuses = [int(status, 16) for status in rule["error_status"].split("|") if status] or [0]
    for status in statuses:
        for driver, column in ((OLD, "before_r575_value"), (NEW, "from_r575_value")):
            found = find_nvlink_action(int(rule["xid"]), rule["unit"], int(rule[column], 16), status, driver)
            assert found is VendorAction(rule["immediate_action"])


def test_codes_outside_of_the_table_have_no_action() -> None:
    assert find_nvlink_action(145, "RLW_REMAP", 0x04, 0x40000000, NEW) is None
    assert find_nvlink_action(79, "RLW_REMAP", 0x04, 0x40, NEW) is None
