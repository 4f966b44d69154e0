"""The state directory: one control plane at a time, and where other programs of this machine find it."""

import fcntl
import json
import os
from contextlib import AsyncExitStack
from pathlib import Path

from control_plane.errors import PreconditionFailed
from control_plane.identity.files import private_directory


def claim(stack: AsyncExitStack, state_dir: Path) -> None:
    """Take the state directory for this process alone, with the folder that policies are taken from by default."""
    private_directory(state_dir)
    (state_dir / "policies").mkdir(mode=0o700, exist_ok=True)  # there from the start, so that its first file is seen
    descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        raise PreconditionFailed(
            f"another control plane (process {owner or 'unknown'}) uses {state_dir}; stop it, or choose another "
            "directory with --state-dir",
            reason="STATE_DIR_IN_USE",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def announce(stack: AsyncExitStack, state_dir: Path, *, server: str, link_server: str, ca_certificate: Path) -> None:
    """Write `ready.json`, which tells other programs on this machine where to connect, while it is true."""
    path = state_dir / "ready.json"
    scratch = state_dir / "ready.json.new"
    document = {"server": server, "link_server": link_server, "ca_certificate": str(ca_certificate), "pid": os.getpid()}
    scratch.write_text(json.dumps(document))
    scratch.replace(path)
    stack.callback(path.unlink, missing_ok=True)
