"""`orquanta up`: a control plane, and a host if asked for, on this machine until Ctrl-C."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from orquanta.cli.account import key_name, store_profile
from orquanta.cli.exits import ExitCode
from orquanta.cli.formats import now, one_line, words
from orquanta.cli.local_fleet import Access, FleetOptions, Ready, run_fleet
from orquanta.cli.options import AsJson
from orquanta.cli.profiles import check_name, save_profiles
from orquanta.cli.session import Session, session_of
from orquanta.cli.settings import child_environment

_DEFAULT_PROFILE = "local"
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
    session = session_of(ctx, as_json=as_json)
    options = FleetOptions(
        state_dir=Path(state_dir).expanduser().absolute() if state_dir else session.environment.state_dir,
        server_arguments=tuple(ctx.args),
        environment=child_environment(),
        with_node=with_node or bool(virtual_gpus),
        node_name=node_name,
        virtual_gpus=virtual_gpus,
        admin_email=admin_email,
        key_name=key_name(),
    )
    profile = check_name(session.flags.profile or session.environment.profile or _DEFAULT_PROFILE)
    report = _UpReport(session, options, profile)

    def known_key(ready: Ready) -> str:
        stored = session.book.profiles.get(profile)
        fits = stored is not None and stored.ca_certificate == ready.ca_certificate
        return stored.api_key if stored is not None and fits else ""

    asyncio.run(_until_stopped(options, known_key, report))
    raise typer.Exit(ExitCode.OK)


async def _until_stopped(options: FleetOptions, known_key: Callable[[Ready], str], report: "_UpReport") -> None:
    """Run the fleet until a signal asks to stop; a second signal ends what still runs at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    fleet = asyncio.ensure_future(run_fleet(options, known_key, report))
    asked = asyncio.ensure_future(stop.wait())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: fleet.cancel() if stop.is_set() else stop.set())
    try:
        await asyncio.wait((fleet, asked), return_when=asyncio.FIRST_COMPLETED)
        if fleet.done():
            fleet.result()
    finally:
        asked.cancel()
        fleet.cancel()
        outcome, _ = await asyncio.gather(fleet, asked, return_exceptions=True)
    if isinstance(outcome, Exception):  # the stop itself failed; a cancelled fleet is what was asked for
        raise outcome


class _UpReport:
    """Says on the terminal, or as JSON lines, what the fleet does; keeps the login in the profile."""

    def __init__(self, session: Session, options: FleetOptions, profile: str) -> None:
        self._session = session
        self._output = session.output
        self._options = options
        self._profile = profile

    def serving(self, ready: Ready, access: Access | None) -> None:
        """The control plane serves."""
        if access is not None:
            self._keep(ready, access)
        if self._output.as_json:
            self._output.record(
                {
                    "event": "serving",
                    "server": ready.server,
                    "state_dir": str(self._options.state_dir),
                    "profile": self._profile if access else "",
                    "email": self._options.admin_email,
                    "password": access.password if access else "",
                }
            )
            return
        current = self._session.book.current
        self._output.say(f"OrQuanta serves on {ready.server}. Ctrl-C stops it.")
        self._output.fields(self._facts(ready, access))
        flag = "" if current == self._profile else f"--profile {self._profile} "
        if access is not None:
            self._output.say(f"\nIn another terminal: orquanta {flag}goal submit 'benchmark one H100'\n")

    def _facts(self, ready: Ready, access: Access | None) -> list[tuple[str, str]]:
        facts = [
            ("  state", str(self._options.state_dir)),
            ("  logs", str(self._options.state_dir / "logs")),
        ]
        if access is None:
            facts.append(("  log in", f"orquanta login --server {ready.server} --ca FILE --email YOU"))
            return facts
        facts.append(("  profile", f"{self._profile}, in {self._session.environment.config_path}"))
        if access.password:
            facts.append(("  user", self._options.admin_email))
            facts.append(("  password", f"{access.password}  (shown only now; `orquanta passwd` changes it)"))
        return facts

    def _keep(self, ready: Ready, access: Access) -> None:
        """Store a fresh key, or the server's new address beside the key that is stored."""
        if access.created is not None:
            store_profile(
                self._session,
                self._profile,
                ready.server,
                ready.ca_certificate,
                self._options.admin_email,
                access.created,
            )
            return
        stored = self._session.book.profiles[self._profile]
        if stored.server != ready.server:
            book = self._session.book.with_profile(self._profile, replace(stored, server=ready.server), use=False)
            save_profiles(self._session.environment.config_path, book)

    def event(self, noun: str, thing_id: str, name: str, state: str, reason: str) -> None:
        """A node or a job changed."""
        if self._output.as_json:
            self._output.record({"event": noun, "id": thing_id, "name": name, "state": state, "reason": reason})
            return
        title = f"{noun} {name or thing_id} {words(state)}"
        self._output.say(f"{now().astimezone():%H:%M:%S} {title}{': ' if reason else ''}{one_line(reason)}")

    def stopping(self) -> None:
        """Everything is being stopped."""
        if self._output.as_json:
            self._output.record({"event": "stopping"})
        self._output.say("Stopping: first the host, then the control plane. Ctrl-C again ends them at once.")
