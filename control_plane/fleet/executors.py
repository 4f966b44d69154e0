"""What runs jobs: our own daemons, or an engine of a site that a daemon hands them to.

This is the one list of them; a job is checked against it when it is submitted and when it is launched. A host says in
its inventory which it is, and shows it as a label that nobody can give a host: jobs that name the executor ask for it,
and jobs that name none stay away.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from control_plane.model.job import JobSpec, ResourceRequest
from control_plane.model.node import Node

HOSTS: Final = "hosts"
"""Our own daemons; an empty name means them."""

EXECUTORS: Final = (HOSTS, "slurm", "kubernetes")
"""The names that a job may give."""

LABEL: Final = "orquanta.io/executor"


def is_known(name: str) -> bool:
    """Tell whether a job may name this executor; empty stands for our own daemons."""
    return not name or name in EXECUTORS


def labels(node: Node) -> Mapping[str, str]:
    """Return the labels of a node with its executor among them, if it is one of a site's engine."""
    own = {name: value for name, value in node.labels.items() if name != LABEL}
    executor = "" if node.inventory is None else node.inventory.executor
    return {**own, LABEL: executor} if executor else own


def asked(spec: JobSpec) -> ResourceRequest:
    """Return what a job needs, its executor too where it is not our own daemons."""
    if spec.executor in ("", HOSTS):
        return spec.resources
    wanted = (*spec.resources.node_labels, (LABEL, spec.executor))
    return replace(spec.resources, node_labels=tuple(dict.fromkeys(wanted)))


def stays_away(resources: ResourceRequest, has: Mapping[str, str]) -> bool:
    """Tell whether a host with these labels runs jobs in a way that this one has not asked for."""
    return LABEL in has and all(name != LABEL for name, _ in resources.node_labels)
