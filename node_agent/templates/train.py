"""Trains a small classifier from nothing; ranks of a gang average their gradients."""

import sys
from pathlib import Path

from node_agent.templates.loop import train
from node_agent.templates.model import Data, Model, default_checkpoint
from node_agent.templates.run import Run, parser


def main() -> int:
    """Train, and leave a checkpoint."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--checkpoint", type=Path, default=default_checkpoint(), help="where to leave the model")
    options = arguments.parse_args()
    run = Run("train", seconds=options.seconds, steps=options.steps)
    return train("train", run, Model(), Data(run.place.rank), options.checkpoint)


if __name__ == "__main__":
    sys.exit(main())
