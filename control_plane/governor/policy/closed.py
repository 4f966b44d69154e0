"""What holds where the policies in force cannot be read, because a later version has written them."""

from typing import Final

from control_plane.governor.policy.book import fault_line
from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile, PolicySet

_CLOSED: Final = """
rules:
  - id: cannot-follow
    when: >-
      !(action.is_person && action.kind in ['stop_job', 'cordon_node', 'quarantine_node', 'revoke_node'])
    then: deny
    message: this control plane cannot read the policies in force; use another one, and upgrade this one
"""


def closed() -> PolicySet:
    """Return rules that let people stop things, and refuse all else."""
    policies, faults = check([PolicyFile("cannot-follow.yaml", _CLOSED)])
    if policies is None:
        raise ValueError(f"the rule of last resort is wrong: {fault_line(faults[0])}")
    return policies
