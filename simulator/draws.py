"""What is left to chance, and how much: durations drawn from a distribution that a person names."""

import math
import random
from dataclasses import dataclass
from enum import Enum
from typing import Final

_LONGEST_SECONDS: Final = 30 * 86_400.0
_PARAMETERS: Final = 2


class Shape(Enum):
    """The distributions; the value is the name that a person writes."""

    FIXED = "fixed"
    UNIFORM = "uniform"
    LOGNORMAL = "lognormal"


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds to be drawn. `first` and `second`: least and most of UNIFORM, median and sigma of LOGNORMAL."""

    shape: Shape
    first: float
    second: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Read `90`, `uniform:60,120` or `lognormal:300,0.8`. Raises ValueError, saying what can be written."""
        name, colon, rest = text.partition(":")
        try:
            shape = Shape(name) if colon else Shape.FIXED
            numbers = [float(number) for number in (rest if colon else text).split(",")]
            return cls._checked(shape, *numbers)
        except ValueError:
            raise ValueError(
                f"{text!r} is no duration: write seconds (90), uniform:LEAST,MOST (uniform:60,120) or "
                "lognormal:MEDIAN,SIGMA (lognormal:300,0.8)"
            ) from None

    @classmethod
    def _checked(cls, shape: Shape, *numbers: float) -> "Duration":
        enough = len(numbers) == (1 if shape is Shape.FIXED else _PARAMETERS)
        sensible = all(0 <= number <= _LONGEST_SECONDS for number in numbers)
        if not enough or not sensible or (shape is Shape.UNIFORM and numbers[1] < numbers[0]):
            raise ValueError(numbers)
        return cls(shape, *numbers)

    def draw(self, dice: random.Random) -> float:
        """Return so many seconds."""
        match self.shape:
            case Shape.FIXED:
                return self.first
            case Shape.UNIFORM:
                return dice.uniform(self.first, self.second)
            case Shape.LOGNORMAL:
                return min(self.first * math.exp(dice.gauss(0.0, self.second)), _LONGEST_SECONDS)


def dice_of(*parts: object) -> random.Random:
    """Return dice that fall the same way for the same parts, on every machine and in every run."""
    return random.Random("/".join(str(part) for part in parts))  # noqa: S311 - plays, hides nothing
