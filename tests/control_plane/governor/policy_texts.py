"""Policies of files in as few words as tests need."""

from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile, PolicySet
from control_plane.model.action import (
    LaunchJobs,
    NewJob,
)
from tests.control_plane.world import World, job_id, spec

ALLOW_ALL = "rules:\n  - {id: everything, when: 'true', then: allow, message: go}\n"


def made(text: str) -> PolicySet:
    policies, faults = check([PolicyFile("p.yaml", text)])
    assert policies is not None, faults
    return policies


def rule(when: str, then: str, more: str = "") -> str:
    return f'rules:\n  - {{id: one, when: "{when}", then: {then}, message: because{more}}}\n'


def under(world: World, text: str) -> World:
    world.governor.policies.put(made(text))
    return world


def launch(*names: str) -> LaunchJobs:
    return LaunchJobs(tuple(NewJob(job_id(name), spec(name)) for name in names))
