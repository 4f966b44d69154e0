"""The C functions of the virtual NVML, one module per kind."""

from typing import Final

from node_agent.virtual.calls.fields import FIELD_CALLS
from node_agent.virtual.calls.gpm import GPM_CALLS
from node_agent.virtual.calls.health import HEALTH_CALLS
from node_agent.virtual.calls.identity import IDENTITY_CALLS
from node_agent.virtual.calls.mig import MIG_INSTANCE_CALLS, MIG_MODE_CALLS
from node_agent.virtual.calls.sensors import SENSOR_CALLS
from node_agent.virtual.calls.system import PAIR_CALLS, SYSTEM_CALLS, error_text
from node_agent.virtual.calls.table import CallTable

GPU_CALLS: Final = CallTable(
    {**IDENTITY_CALLS, **SENSOR_CALLS, **HEALTH_CALLS, **FIELD_CALLS, **MIG_MODE_CALLS, **GPM_CALLS}
)

__all__ = ["GPU_CALLS", "MIG_INSTANCE_CALLS", "PAIR_CALLS", "SYSTEM_CALLS", "error_text"]
