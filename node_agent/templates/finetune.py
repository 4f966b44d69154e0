"""Loads the checkpoint that `train` left, and trains on with data whose rule has moved."""

import sys
from pathlib import Path

from node_agent.templates.loop import train
from node_agent.templates.model import Data, Model, default_checkpoint
from node_agent.templates.run import Run, parser, say

_PRETRAINING_STEPS = 200
_SHIFT = 0.3


def main() -> int:
    """Fine-tune, and leave a checkpoint beside the one that was loaded."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--checkpoint", type=Path, default=default_checkpoint(), help="the model to begin with")
    options = arguments.parse_args()
    run = Run("finetune", seconds=options.seconds, steps=options.steps)
    model = _begin(options.checkpoint)
    target = options.checkpoint.with_name(f"{options.checkpoint.stem}-finetuned.json")
    return train("finetune", run, model, Data(1000 + run.place.rank, shift=_SHIFT), target)


def _begin(checkpoint: Path) -> Model:
    """Return the model of the checkpoint, or one trained here if this host has none."""
    try:
        model = Model.load(checkpoint)
    except FileNotFoundError:
        say(f"finetune: no checkpoint at {checkpoint} on this host; training a base model first")
        model, data = Model(), Data(0)
        for _ in range(_PRETRAINING_STEPS):
            model.descend(model.gradient(data.batch()))
        return model
    say(f"finetune: loaded {checkpoint}, {model.steps} steps")
    return model


if __name__ == "__main__":
    sys.exit(main())
