"""Figures from a DCGM exporter on this host, for what NVML does not tell, and for GPUs that it no longer shows."""

from node_agent.probe.dcgm.client import DcgmClient
from node_agent.probe.dcgm.merge import Filler
from node_agent.probe.dcgm.reading import DcgmGpu, DcgmReading

__all__ = ["DcgmClient", "DcgmGpu", "DcgmReading", "Filler"]
