"""Every scenario by its name, in the order in which they are played."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orquanta.gameday.scenarios import (
    control_plane_away,
    daemon_killed,
    ecc_row_remap,
    flapping_gpu,
    full_disk,
    gpu_lost,
    hung_driver,
    log_storm,
    nvlink_down,
    quiet,
    real_kernel_log,
    reboot_mid_repair,
    ten_hosts,
)
from orquanta.gameday.scenarios.scenario import Scenario

SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (
            gpu_lost.SCENARIO,
            ecc_row_remap.SCENARIO,
            nvlink_down.SCENARIO,
            hung_driver.SCENARIO,
            full_disk.SCENARIO,
            log_storm.SCENARIO,
            flapping_gpu.SCENARIO,
            ten_hosts.SCENARIO,
            reboot_mid_repair.SCENARIO,
            control_plane_away.SCENARIO,
            daemon_killed.SCENARIO,
            quiet.SCENARIO,
            real_kernel_log.SCENARIO,
        )
    }
)
