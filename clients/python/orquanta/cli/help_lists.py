"""Lists of commands in help: each with its whole first sentence, on as many lines as it takes."""

from typing import Any

from typer.core import TyperGroup

_WHOLE = 1_000  # characters: more than any first sentence has


class WholeSentences(TyperGroup):
    """Commands that are listed with their whole first sentence, which would otherwise be cut at the line's end."""

    # `Any`: typer keeps the types of click to itself.
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, with a short help, which is never cut."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and not command.short_help:
            command.short_help = command.get_short_help_str(_WHOLE)
        return command
