"""Node value with a part of fragmentation: the first sees GPUs one by one, the second sees jobs of several.

Where jobs come and go, hosts with several GPUs free are what runs short; fragments measure that, and value does not.
"""

from typing import Final

import numpy as np

from control_plane.fleet.placement.packing.classes import TaskClass, covering
from control_plane.fleet.placement.packing.fgd import COVERED_PERCENT, FgdScorer
from control_plane.fleet.placement.packing.model import Demand
from control_plane.fleet.placement.packing.node_value import NANO, NodeValueScorer, ValueTerms
from control_plane.fleet.placement.packing.policy import Free, first_best_gpu
from control_plane.fleet.placement.packing.state import Bools, Ints

FRAGMENT_PART: Final = 0.1  # of a GPU that is in fragments counts as lost
_MAX_CLASSES: Final = 64  # whose fragments are looked at; bounds what a score costs


class BlendScorer:
    """Scores by the change of a node's value, less a tenth of what comes to be in fragments, in steps."""

    def __init__(self, classes: tuple[TaskClass, ...], models: tuple[str, ...], terms: ValueTerms) -> None:
        """The expected classes, and the GPU models of the nodes it will score."""
        self._value = NodeValueScorer(classes, models, terms)
        self._fragments = FgdScorer(covering(classes, COVERED_PERCENT)[:_MAX_CLASSES], models)

    def evaluate(self, free: Free, rows: Ints, demand: Demand, usable: Bools) -> tuple[Ints, Ints]:
        """Scores in steps of what is lost (as negative numbers), and the first GPU with the best."""
        gained = np.rint(self._fragments.gains(free, rows, demand, usable) * (FRAGMENT_PART * NANO)).astype(np.int64)
        steps = self._value.steps(self._value.changes(free, rows, demand, usable) + gained)
        if demand.shared:
            at, gpus = np.nonzero(usable)
            return first_best_gpu(steps, at, gpus, usable.shape)
        return steps, np.zeros(rows.size, dtype=np.int64)
