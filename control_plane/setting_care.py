"""Care for hosts: policies, protection, repairs, how much may be out of service, and what a host may do alone."""

from typing import Annotated

from pydantic import Field

from control_plane.setting_forms import (
    RUNG_NAMES,
    LocalRungs,
    OutOfService,
    ProtectedLabel,
    Rungs,
    Windows,
)
from control_plane.setting_section import FilePath, Seconds, SettingSection


class CareSettings(SettingSection):
    """Care for hosts: policies, protection, repairs, how much may be out of service, and what a host may do alone."""

    policy_folder: FilePath | None = None
    """Folder of policy files, looked at every second; the folder policies in the state directory, if there is one."""
    protected_label: ProtectedLabel = "orquanta.io/protected=true"
    """Label of nodes that no agent touches, and whose repair, drain or removal another person approves; empty for
    none."""
    change_freezes: Windows = ()
    """Windows in which agents change nothing and people's changes need approval, in UTC, for example
    2026-12-24T18:00Z/2027-01-02T08:00Z once or fri 18:00/mon 06:00 every week."""
    automatic_repair: bool = True
    """Have the healing agent repair hosts by itself; without it, incidents are opened and people repair."""
    repair_rungs: Rungs = RUNG_NAMES
    """Repairs that the healing agent may order: stop-process, move-job, reset-gpu, restart-service, reload-driver,
    reboot-host, verify."""
    repair_approval_rungs: Rungs = ()
    """Repairs that wait for a person's approval when the healing agent orders them, for example reboot-host."""
    repair_settle_seconds: Seconds = 15.0
    """How long what was wrong may take to be over after a repair that succeeded, before the next one is tried."""
    repair_flaps: Annotated[int, Field(ge=1, le=100)] = 3
    """A trouble that is back after so many repairs that succeeded is not repaired again: its host is quarantined."""
    repair_flap_seconds: Seconds = 21_600.0
    """Within which time those repairs count."""
    repair_refused_seconds: Seconds = 300.0
    """After how long a repair that a host has refused is tried again; after three refusals the next one is tried."""
    repair_drain_seconds: Seconds = 120.0
    """How long jobs may take to leave a host beyond their own grace, before a person is called."""
    out_of_service_fleet: OutOfService = "50, 10%"
    """Hosts of the fleet that may be out of service at once, for repairs, tests, drains, quarantines, or lost: a number
    and a share, the lower counts. One is always possible, unless either is 0."""
    out_of_service_pool: OutOfService = "25, 20%"
    """The same for the hosts that have one label pool."""
    out_of_service_rack: OutOfService = "8, 34%"
    """The same for the hosts that have one label rack."""
    out_of_service_job: OutOfService = "2, 50%"
    """The same for the hosts that one job runs on."""
    out_of_service_tenant: OutOfService = "10, 34%"
    """The same for the hosts that jobs of one user run on."""
    local_repairs: LocalRungs = (
        "stop-process:10",
        "reset-gpu:2",
        "restart-service:4",
    )
    """Repairs that a host may do by itself while it cannot reach the control plane, and how often a day."""
    local_repairs_per_day: Annotated[int, Field(ge=0, le=1000)] = 10
    """Repairs of any kind that a host may do by itself in a day."""
    local_repairs_stop_jobs: bool = False
    """Whether jobs on what is repaired may be stopped for it by a host that decides alone."""
    local_repair_after_seconds: Seconds = 60.0
    """How long a host must have been cut off before it decides by itself."""
    local_policy_days: Annotated[int, Field(ge=1, le=90)] = 7
    """How long a host that is cut off may decide by itself; afterwards it only watches, and takes no jobs."""
