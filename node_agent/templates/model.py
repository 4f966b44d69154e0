"""A logistic regression, trained by gradient descent, and its checkpoint file."""

from __future__ import annotations

import json
import math
import os
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

FEATURES = 16
BATCH = 32
_LEARNING_RATE = 0.5


@dataclass(slots=True)
class Model:
    """Weights and a bias; predicts the probability of class 1."""

    weights: list[float] = field(default_factory=lambda: [0.0] * FEATURES)
    bias: float = 0.0
    steps: int = 0

    def predict(self, features: list[float]) -> float:
        """Return the probability of class 1."""
        score = self.bias + sum(weight * value for weight, value in zip(self.weights, features, strict=True))
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, score))))

    def gradient(self, batch: list[tuple[list[float], int]]) -> list[float]:
        """Return the mean gradient by weight, then by bias, then the mean loss."""
        total = [0.0] * (FEATURES + 2)
        for features, label in batch:
            probability = self.predict(features)
            error = probability - label
            for index, value in enumerate(features):
                total[index] += error * value
            total[FEATURES] += error
            total[FEATURES + 1] -= math.log(max(1e-12, probability if label else 1.0 - probability))
        return [value / len(batch) for value in total]

    def descend(self, gradient: list[float]) -> None:
        """Make one step against the gradient."""
        for index in range(FEATURES):
            self.weights[index] -= _LEARNING_RATE * gradient[index]
        self.bias -= _LEARNING_RATE * gradient[FEATURES]
        self.steps += 1

    def save(self, path: Path) -> None:
        """Write the checkpoint in one step, so that a kill leaves the old one whole."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps({"weights": self.weights, "bias": self.bias, "steps": self.steps}))
        fresh.replace(path)

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read a checkpoint; raises OSError, ValueError or KeyError."""
        value = json.loads(path.read_text())
        weights = [float(weight) for weight in value["weights"]]
        if len(weights) != FEATURES:
            raise ValueError(f"{path} has {len(weights)} weights, not {FEATURES}")
        return cls(weights, float(value["bias"]), int(value["steps"]))


class Data:
    """An endless stream of labelled points from a fixed, hidden rule; each rank sees its own part."""

    def __init__(self, seed: int, *, shift: float = 0.0) -> None:
        rule = random.Random(20_240_517)  # noqa: S311 - the same rule for every rank
        self._rule = [rule.gauss(shift, 1.0) for _ in range(FEATURES)]
        self._chance = random.Random(seed)  # noqa: S311 - reproducible data, not a secret

    def batch(self) -> list[tuple[list[float], int]]:
        """Return the next points with their labels, one in twenty of them wrong."""
        points = []
        for _ in range(BATCH):
            features = [self._chance.gauss(0.0, 1.0) for _ in range(FEATURES)]
            score = sum(weight * value for weight, value in zip(self._rule, features, strict=True))
            wrong = self._chance.random() < 0.05  # noqa: PLR2004 - the noise of the data
            points.append((features, int((score > 0) != wrong)))
        return points


def default_checkpoint() -> Path:
    """Return where `train` leaves its model and `finetune` looks for one: per user, on this host."""
    shared = Path("/tmp") / f"orquanta-{os.getuid()}"  # noqa: S108 - the owner is checked; TMPDIR is per job
    try:
        shared.mkdir(mode=0o700, exist_ok=True)
        ours = shared.lstat().st_uid == os.getuid() and not shared.is_symlink()
    except OSError:
        ours = False
    return (shared if ours else Path(tempfile.gettempdir())) / "checkpoints" / "model.json"
