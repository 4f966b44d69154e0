"""The scheduler: who starts now and where, who makes way, and what everybody else waits for."""

from control_plane.agents.scheduler.agent import Scheduler

__all__ = ["Scheduler"]
