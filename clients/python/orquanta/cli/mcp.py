"""`orquanta mcp`: the fleet as tools of an MCP server, for other agents."""

import typer

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.session import session_of


def mcp(ctx: typer.Context) -> None:
    """Serve the fleet's tools to an agent over MCP (stdio); what they change passes the same gate as everything."""
    session = session_of(ctx, as_json=False)
    connection = session.connection
    session.connect().close()  # says what is missing: a server, a login, a certificate
    try:
        from orquanta.mcp.server import serve  # noqa: PLC0415 - its library is an extra, and slow to load
    except ModuleNotFoundError as error:
        raise CommandError(
            f"{error.name} is not installed; run: pip install 'orquanta[mcp]'",
            reason="NOT_INSTALLED",
            code=ExitCode.USAGE,
        ) from error
    serve(connection.server.value, connection.credential.value, connection.ca_certificate)
