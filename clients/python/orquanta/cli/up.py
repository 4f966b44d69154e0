"""`orquanta up`: a control plane, and a host if asked for, on this machine until Ctrl-C."""

import re
from pathlib import Path
from typing import Annotated

import typer

from orquanta.cli.account import key_name
from orquanta.cli.options import AsJson
from orquanta.cli.profiles import check_name
from orquanta.cli.session import session_of
from orquanta.cli.settings import child_environment

_DEFAULT_PROFILE = "local"
_VIRTUAL_GPUS = re.compile("[0-9]+[xX][A-Za-z]")
_ADMIN_EMAIL = "admin@localhost"


def up(
    ctx: typer.Context,
    state_dir: Annotated[
        str, typer.Option("--state-dir", help="Where everything is kept; the server's own default.")
    ] = "",
    virtual_gpus: Annotated[
        str, typer.Option("--virtual-gpus", help="Start a host with virtual GPUs, for example 8xH100.")
    ] = "",
    with_node: Annotated[bool, typer.Option("--with-node", help="Start a host with this machine's own GPUs.")] = False,
    node_name: Annotated[str, typer.Option("--node-name", help="The host's name in the fleet.")] = "local",
    admin_email: Annotated[str, typer.Option("--admin-email", help="The first administrator's e-mail.")] = _ADMIN_EMAIL,
    as_json: AsJson = False,
) -> None:
    """Start a control plane on this machine, log in to it, and run it until Ctrl-C.

    Other options are passed on to orquanta-server, which lists them with --help.
    """
    from orquanta.cli.local_fleet import FleetOptions  # noqa: PLC0415 - no other command needs asyncio
    from orquanta.cli.up_run import run_up  # noqa: PLC0415

    if "--insecure" in ctx.args:
        raise typer.BadParameter("a fleet that `up` starts uses TLS; for plaintext run orquanta-server yourself")
    if virtual_gpus and not _VIRTUAL_GPUS.match(virtual_gpus):  # the daemon would say so, once everything else runs
        raise typer.BadParameter(f"--virtual-gpus {virtual_gpus!r}: write how many of which model, for example 8xH100")
    session = session_of(ctx, as_json=as_json)
    options = FleetOptions(
        state_dir=Path(state_dir).expanduser().absolute() if state_dir else session.environment.state_dir,
        server_arguments=tuple(ctx.args),
        environment=child_environment(),
        with_node=with_node or bool(virtual_gpus),
        node_name=node_name,
        virtual_gpus=virtual_gpus,
        admin_email=admin_email,
        admin_password=session.environment.admin_password,
        key_name=key_name(),
    )
    profile = check_name(session.flags.profile or session.environment.profile or _DEFAULT_PROFILE)
    run_up(session, options, profile)
