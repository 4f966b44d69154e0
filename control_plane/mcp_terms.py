"""The MCP servers that the settings name, with their tokens and what is remembered of their tools."""

from control_plane.errors import PreconditionFailed
from control_plane.model.identity import Role
from control_plane.settings import Settings
from control_plane.tools.imported.pins import Pins
from control_plane.tools.imported.server import ForeignServer


def servers(settings: Settings) -> tuple[ForeignServer, ...]:
    """Return the servers. Raises SettingsError when a token cannot be read."""
    return tuple(
        ForeignServer(
            name=form.name,
            tools={name: confirmed for name, _, confirmed in (tool.partition("@") for tool in form.tools)},
            reads=frozenset(form.read),
            command=form.command,
            url=form.url,
            token=settings.mcp_token(form),
            role=Role(form.role),
            timeout_seconds=form.timeout_seconds,
        )
        for form in settings.mcp_servers
    )


def pins(settings: Settings) -> Pins:
    """Return what is remembered of tools. Raises PreconditionFailed when the file cannot be trusted."""
    kept = Pins(settings.state_dir / "mcp" / "tools.json")
    try:
        kept.load()
    except (OSError, ValueError) as error:
        raise PreconditionFailed(
            f"what was remembered of tools of MCP servers cannot be read: {error}", reason="MCP_PINS_UNUSABLE"
        ) from error
    return kept
