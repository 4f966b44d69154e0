"""A control plane on this machine, and one host if asked for: started, logged in to, watched, stopped."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import orquanta
from orquanta.cli.children import Child
from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import now
from orquanta.cli.programs import find_program
from orquanta.errors import NotFound, OrQuantaError, Unauthenticated
from orquanta.types.accounts import NewApiKey
from orquanta.types.nodes import NodeState

if TYPE_CHECKING:
    from orquanta import AsyncClient

_READY_SECONDS = 60.0
_READY_POLL_SECONDS = 0.02
_JOIN_SECONDS = 60.0
_MAX_KNOWN_JOBS = 10_000
_JOIN_TOKEN_LIFETIME = timedelta(minutes=10)
_KEY_LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What to start. `server_arguments` go to `orquanta-server` as they are.

    `admin_password` is for the first start; one is made and told if it is empty.
    """

    state_dir: Path
    server_arguments: Sequence[str]
    environment: Mapping[str, str]
    with_node: bool
    node_name: str
    virtual_gpus: str
    admin_email: str
    admin_password: str
    key_name: str

    @property
    def logs_dir(self) -> Path:
        """Where the output of the programs goes; the server keeps the jobs' output elsewhere."""
        return self.state_dir / "up"


@dataclass(frozen=True, slots=True)
class Ready:
    """What `ready.json` of a serving control plane says. `ca_certificate` is PEM."""

    server: str
    link_server: str
    ca_certificate: str


@dataclass(frozen=True, slots=True)
class Access:
    """How to use the fleet: an existing key, or a fresh one with the password that made it."""

    api_key: str
    created: NewApiKey | None = None
    password: str = ""


class Reporter(Protocol):
    """Tells a person, or a script, what happens."""

    def serving(self, ready: Ready, access: Access | None) -> None:
        """The control plane serves; without access, the person has to log in."""

    def event(self, noun: str, thing_id: str, name: str, state: str, reason: str) -> None:
        """A node or a job changed."""

    def stopping(self) -> None:
        """Everything is being stopped."""


async def run_fleet(options: FleetOptions, known_key: Callable[[Ready], str], report: Reporter) -> None:
    """Run until cancelled. `known_key` finds a stored API key for a server, "" if there is none.

    Raises CommandError if a program cannot be started or ends by itself.
    """
    async with AsyncExitStack() as stack:
        server, password = await stack.enter_async_context(_control_plane(options))
        _ = orquanta.AsyncClient  # loads gRPC while the server starts, instead of after
        ready = await _until_ready(options, server)
        access = await _log_in(options, ready, known_key(ready), password)
        report.serving(ready, access)
        if access is None:
            raise_if_node_wanted(options)
            await server.wait()
            raise server.failure()
        client = await stack.enter_async_context(
            orquanta.AsyncClient(ready.server, api_key=access.api_key, ca_certificate=ready.ca_certificate.encode())
        )
        children = [server]
        if options.with_node:
            children.append(await stack.enter_async_context(_node(options, ready, client)))
        stack.callback(report.stopping)
        await _attend(client, children, report)


def raise_if_node_wanted(options: FleetOptions) -> None:
    """A host can only join with a token, and a token needs a login."""
    if options.with_node:
        raise CommandError(
            "this state directory has an administrator already, and no stored key fits it, so no local host "
            "can join. Run `orquanta up` without a node, log in with `orquanta login`, then try again.",
            reason="NOT_LOGGED_IN",
            code=ExitCode.NOT_ALLOWED,
        )


@asynccontextmanager
async def _control_plane(options: FleetOptions) -> AsyncIterator[tuple[Child, str]]:
    """The server and the password that its administrator has if this is the very first start."""
    program = find_program("orquanta-server", "server")
    options.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = options.admin_password or secrets.token_urlsafe(18)
    password_file = options.state_dir / f".admin-password.{os.getpid()}"
    _write_secret(password_file, password)
    try:
        command = [program, "--state-dir", str(options.state_dir), "--admin-email", options.admin_email]
        command += ["--admin-password-file", str(password_file), *options.server_arguments]
        log = options.logs_dir / "server.log"
        child = await Child.start("orquanta-server", command, log, options.environment)
        try:
            yield child, password
        finally:
            await child.stop()
    finally:
        password_file.unlink(missing_ok=True)


def _write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)


async def _until_ready(options: FleetOptions, server: Child) -> Ready:
    """Poll for the server's own `ready.json`, which it writes when it serves."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                if server.returncode is not None:
                    raise server.failure()
                ready = _read_ready(options.state_dir / "ready.json", server.pid)
                if ready is not None:
                    return ready
                await asyncio.sleep(_READY_POLL_SECONDS)
    raise CommandError(
        f"the server did not serve within {_READY_SECONDS:.0f} s; see {options.logs_dir / 'server.log'}",
        reason="NOT_READY",
        code=ExitCode.UNAVAILABLE,
    )


def _read_ready(path: Path, pid: int) -> Ready | None:
    """What that process wrote; None while it is not there, is half written, or is another process's."""
    try:
        content = json.loads(path.read_text())
        if content["pid"] != pid:
            return None
        pem = Path(str(content["ca_certificate"])).read_text()
        return Ready(str(content["server"]), str(content["link_server"]), pem)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


async def _log_in(options: FleetOptions, ready: Ready, known_key: str, password: str) -> Access | None:
    """The stored key if it still works, else a fresh one made with the first start's password."""
    ca_certificate = ready.ca_certificate.encode()
    if known_key:
        async with orquanta.AsyncClient(ready.server, api_key=known_key, ca_certificate=ca_certificate) as client:
            with suppress(Unauthenticated):
                await client.auth.who_am_i()
                return Access(known_key)
    async with orquanta.AsyncClient(ready.server, ca_certificate=ca_certificate) as client:
        with suppress(Unauthenticated):  # an earlier start made the administrator, with another password
            await client.auth.login(options.admin_email, password)
            created = await client.auth.create_api_key(options.key_name, lifetime=_KEY_LIFETIME)
            return Access(created.secret, created, "" if options.admin_password else password)
    return None


@asynccontextmanager
async def _node(options: FleetOptions, ready: Ready, client: "AsyncClient") -> AsyncIterator[Child]:
    """The daemon of this machine, joined if it has not joined yet."""
    program = find_program("orquanta-node", "node")
    state_dir = options.state_dir / "local-node"
    log = options.logs_dir / "node.log"
    virtual = ["--virtual-gpus", options.virtual_gpus] if options.virtual_gpus else []
    if not await _identity_is_good(state_dir, options.node_name, ready, client):
        token = await client.nodes.create_join_token(lifetime=_JOIN_TOKEN_LIFETIME)
        join = [program, "join", "--force", "--server", token.server, "--token", token.secret]
        join += ["--state-dir", str(state_dir), "--name", options.node_name, *virtual]
        await _run_to_end(await Child.start("orquanta-node join", join, log, options.environment))
    run = [program, "run", "--state-dir", str(state_dir), *virtual]
    child = await Child.start("orquanta-node", run, log, options.environment)
    try:
        yield child
    finally:
        await child.stop()


async def _run_to_end(child: Child) -> None:
    try:
        async with asyncio.timeout(_JOIN_SECONDS):
            await child.wait()
    except TimeoutError:  # stopped below, which makes it a failure
        pass
    finally:
        await child.stop()
    if child.returncode != 0:
        raise child.failure()


async def _identity_is_good(state_dir: Path, node_name: str, ready: Ready, client: "AsyncClient") -> bool:
    """True if the daemon can come back as the node it was; else that node is revoked, to free its name.

    A certificate runs out while the daemon is stopped, and a port that was taken at random changes.
    """
    try:
        identity = json.loads((state_dir / "identity" / "current" / "node.json").read_text())
        moved = ready.link_server not in identity["link_servers"]
    except (OSError, ValueError, KeyError, TypeError):
        moved = True
    try:
        node = await client.nodes.get(node_name)
    except NotFound:
        return False
    expires_at = node.certificate_expires_at
    if node.state is not NodeState.REVOKED:
        if not moved and (expires_at is None or expires_at > now()):
            return True
        await client.nodes.revoke(node.id, reason="the host joins anew: its identity is no longer good")
    return False


async def _attend(client: "AsyncClient", children: Sequence[Child], report: Reporter) -> None:
    """Tell what happens until a program ends by itself, which is an error."""
    loops = [_tell_nodes(client, report), _tell_jobs(client, report)]
    tellers = [asyncio.ensure_future(loop) for loop in loops]
    endings = {asyncio.ensure_future(child.wait()): child for child in children}
    try:
        done, _ = await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        raise endings[done.pop()].failure()
    finally:
        for task in (*tellers, *endings):
            task.cancel()
        await asyncio.gather(*tellers, *endings, return_exceptions=True)


async def _tell_nodes(client: "AsyncClient", report: Reporter) -> None:
    known: dict[str, tuple[str, str]] = {}
    with suppress(OrQuantaError):  # the server is gone; whoever waits for it tells that
        async for node in client.nodes.watch():
            if known.get(node.id) != (node.state, node.status_reason):
                known[node.id] = (node.state, node.status_reason)
                gpus = f"{len(node.gpus)} GPUs" if node.gpus else ""
                report.event("node", node.id, node.name, node.state, node.status_reason or gpus)


async def _tell_jobs(client: "AsyncClient", report: Reporter) -> None:
    known: dict[str, str] = {}
    began = now()
    with suppress(OrQuantaError):
        async for job in client.jobs.watch():
            finished_before = job.finished_at is not None and job.finished_at < began
            if known.get(job.id) != job.state and not finished_before:
                if len(known) >= _MAX_KNOWN_JOBS:
                    known.clear()  # at worst, a line is said twice
                known[job.id] = job.state
                report.event("job", job.id, job.spec.name, job.state, job.status_reason)
