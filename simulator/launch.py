"""What the command `orquanta-sim` calls: it is installed even where its libraries are not."""

from orquanta.programs import start


def main() -> int | None:
    """Run the simulator."""
    return start("orquanta-sim", "cli", "simulator.__main__")
