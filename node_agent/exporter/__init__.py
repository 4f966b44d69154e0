"""The daemon's Prometheus endpoint: GPUs by DCGM exporter's names, and the daemon's own figures."""

from node_agent.exporter.exporter import Exporter, parse_address
from node_agent.exporter.state import ExporterState, GpuLabels

__all__ = ["Exporter", "ExporterState", "GpuLabels", "parse_address"]
