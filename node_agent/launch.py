"""What the command `orquanta-node` calls: it is installed even where the daemon's libraries are not."""

from orquanta.programs import start


def main() -> int | None:
    """Run the daemon's command line."""
    return start("orquanta-node", "node", "node_agent.__main__")
