"""`orquanta mcp`: the fleet as tools of an MCP server, for other agents."""

import typer

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.session import session_of


def mcp(ctx: typer.Context) -> None:
    """Serve the fleet's tools to an agent over MCP, on stdin and stdout.

    What they change passes the same gate as everything, as an agent's act. An MCP client starts this by itself; give
    it a key of its own in ORQUANTA_TOKEN, made with `orquanta key create NAME --for-agent`.
    """
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
