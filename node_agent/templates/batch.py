"""Scores generated records one after the other, with progress."""

import hashlib
import sys

from node_agent.templates.model import Data, Model
from node_agent.templates.run import Run, parser, say

_LINES = 10
_TRAINING_STEPS = 100


def main() -> int:
    """Process records until the run is done; one step is one batch of records."""
    options = parser(__doc__ or "").parse_args()
    run = Run("batch", seconds=options.seconds, steps=options.steps)
    model, data = Model(), Data(0)
    for _ in range(_TRAINING_STEPS):
        model.descend(model.gradient(data.batch()))
    source = Data(2000 + run.place.rank)
    records = right = 0
    digest = hashlib.sha256()
    told = -1
    while not run.done():
        for features, label in source.batch():
            probability = model.predict(features)
            records += 1
            right += (probability > 0.5) == bool(label)  # noqa: PLR2004 - the middle between the classes
            digest.update(f"{probability:.6f}".encode())
        run.step += 1
        mark = int(run.progress * _LINES)
        if mark > told:
            told = mark
            say(f"batch: {run.progress:4.0%} {records} records")
    say(f"batch: done, {records} records, {right / max(1, records):.1%} right, digest {digest.hexdigest()[:16]}")
    return run.exit_code()


if __name__ == "__main__":
    sys.exit(main())
