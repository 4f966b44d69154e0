"""Checks that a site adds: executables with a timeout that answer in JSON."""

from node_agent.probe.custom.checks import CustomChecks
from node_agent.probe.custom.declaration import CustomCheck, parse_checks

__all__ = ["CustomCheck", "CustomChecks", "parse_checks"]
