"""The orchestrator's name among the agents."""

from typing import Final

NAME: Final = "master_orchestrator"
