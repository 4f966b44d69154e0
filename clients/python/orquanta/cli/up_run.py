"""What `orquanta up` does once its arguments are read: runs the fleet, stores the login, tells what happens."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace

from orquanta.cli.account import store_profile
from orquanta.cli.local_fleet import Access, FleetOptions, Ready, run_fleet
from orquanta.cli.profiles import save_profiles
from orquanta.cli.session import Session
from orquanta.cli.up_lines import ChangeLines


def run_up(session: Session, options: FleetOptions, profile: str) -> None:
    """Run until a signal asks to stop. Raises CommandError if a program fails."""

    def known_key(ready: Ready) -> str:
        stored = session.book.profiles.get(profile)
        fits = stored is not None and stored.ca_certificate == ready.ca_certificate
        return stored.api_key if stored is not None and fits else ""

    asyncio.run(_until_stopped(options, known_key, _UpReport(session, options, profile)))


async def _until_stopped(options: FleetOptions, known_key: Callable[[Ready], str], report: "_UpReport") -> None:
    """Run the fleet until a signal asks to stop; a second signal ends what still runs at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    fleet = asyncio.ensure_future(run_fleet(options, known_key, report))
    asked = asyncio.ensure_future(stop.wait())
    stopping = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks to outlive the terminal
        stopping.append(signal.SIGHUP)
    for number in stopping:
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
        self._lines = ChangeLines(self._output.say)

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
            ("  logs", str(self._options.logs_dir)),
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
        self._lines.add(noun, name or thing_id, state, reason)

    def stopping(self) -> None:
        """Everything is being stopped."""
        if self._output.as_json:
            self._output.record({"event": "stopping"})
        self._lines.flush()
        parts = "first the host, then the control plane" if self._options.with_node else "the control plane"
        self._output.say(f"Stopping: {parts}. Ctrl-C again ends {'them' if self._options.with_node else 'it'} at once.")
