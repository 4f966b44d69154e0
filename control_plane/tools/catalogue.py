"""Every tool of OrQuanta's own. There is none that runs commands on hosts, and there never will be."""

from typing import Final

from control_plane.tools.conditions import NODE_CONDITIONS
from control_plane.tools.costs import BUDGET_LEFT, COSTS, PRICES
from control_plane.tools.definition import AnyTool
from control_plane.tools.diagnoses import DIAGNOSE_JOB
from control_plane.tools.fleet import FLEET_SUMMARY
from control_plane.tools.goals import GET_GOAL, LIST_GOALS
from control_plane.tools.incidents import GET_INCIDENT, LIST_INCIDENTS
from control_plane.tools.job_changes import LAUNCH_JOBS, STOP_JOB
from control_plane.tools.job_logs import JOB_LOGS
from control_plane.tools.jobs import GET_JOB, JOB_PLACEMENT, LIST_JOBS
from control_plane.tools.memories import RECALL_MEMORY
from control_plane.tools.node_changes import (
    CORDON_NODE,
    DRAIN_NODE,
    QUARANTINE_NODE,
    RELEASE_NODE,
    REPAIR_NODE,
    UNCORDON_NODE,
    VERIFY_NODE,
)
from control_plane.tools.nodes import GET_NODE, LIST_NODES
from control_plane.tools.telemetry import NODE_TELEMETRY

TOOLS: Final[tuple[AnyTool, ...]] = (
    BUDGET_LEFT,
    CORDON_NODE,
    COSTS,
    DIAGNOSE_JOB,
    DRAIN_NODE,
    FLEET_SUMMARY,
    GET_GOAL,
    GET_INCIDENT,
    GET_JOB,
    GET_NODE,
    JOB_LOGS,
    JOB_PLACEMENT,
    LAUNCH_JOBS,
    LIST_GOALS,
    LIST_INCIDENTS,
    LIST_JOBS,
    LIST_NODES,
    NODE_CONDITIONS,
    NODE_TELEMETRY,
    PRICES,
    QUARANTINE_NODE,
    RECALL_MEMORY,
    RELEASE_NODE,
    REPAIR_NODE,
    STOP_JOB,
    UNCORDON_NODE,
    VERIFY_NODE,
)
"""All tools, by name."""
