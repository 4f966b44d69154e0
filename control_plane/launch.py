"""What the command `orquanta-server` calls: it is installed even where the server's libraries are not."""

from orquanta.programs import start


def main() -> int | None:
    """Run the control plane."""
    return start("orquanta-server", "server", "control_plane.__main__")
