"""Programs that stand for a host's tools on a game day: what they are asked for is written down, and done in small."""

import shutil
from pathlib import Path

PERSISTENCED = "nvidia-persistenced.service"
_CALLS = "calls"
_HELD = "reset-held"

# A service is a process that has GPU 0 open. It must not carry the environment of who starts it, as under systemd.
_SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
[ "$1" = reboot ] && rm -f "$(cat "$here/faults")"  # whoever reads of a reboot may cut the power at once
echo "systemctl $*" >> "$here/calls"
pid_of() { cat "$here/run/$1" 2>/dev/null || echo 0; }
alive() { [ "$1" -gt 1 ] && kill -0 "$1" 2>/dev/null; }
start() {
  alive "$(pid_of "$1")" && return
  env -i ORQUANTA_GAMEDAY="$here" setsid sleep 86400 9< "$here/dev/nvidia0" < /dev/null > /dev/null 2>&1 &
  echo $! > "$here/run/$1"
}
stop() {
  pid=$(pid_of "$1")
  if alive "$pid"; then kill "$pid"; fi
  while alive "$pid"; do sleep 0.02; done
  rm -f "$here/run/$1"
}
case "$1" in
  show)
    shift 3
    for name in "$@"; do
      pid=$(pid_of "$name")
      load=not-found; [ -e "$here/units/$name" ] && load=loaded
      active=inactive; if alive "$pid"; then active=active; else pid=0; fi
      printf 'Id=%s\\nLoadState=%s\\nActiveState=%s\\nMainPID=%s\\n\\n' "$name" "$load" "$active" "$pid"
    done ;;
  start) start "$3" ;;
  stop) stop "$3" ;;
  restart) stop "$3"; start "$3" ;;
esac
"""

_NVIDIA_SMI = """#!/bin/sh
here=$(dirname "$0")
echo "nvidia-smi $*" >> "$here/calls"
while [ -e "$here/reset-held" ]; do sleep 0.02; done
echo "nvidia-smi done" >> "$here/calls"
"""


class Tools:
    """The stand-ins of one host, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for part in ("units", "run", "dev"):
            (directory / part).mkdir(parents=True)
        (directory / "dev" / "nvidia0").touch()
        (directory / "units" / PERSISTENCED).touch()
        (directory / "faults").write_text("/nonexistent")
        self._write("systemctl", _SYSTEMCTL)
        self._write("nvidia-smi", _NVIDIA_SMI)

    def _write(self, name: str, script: str) -> None:
        path = self.directory / name
        path.write_text(script)
        path.chmod(0o755)

    def hold_resets(self) -> None:
        """Have GPU resets begin and not end."""
        (self.directory / _HELD).touch()

    def let_resets_end(self) -> None:
        """Have those that began end, and others not wait."""
        (self.directory / _HELD).unlink()

    def reboot_mends(self, faults: Path) -> None:
        """Have a reboot remove this file of virtual faults: it is what the power-on of real GPUs does."""
        (self.directory / "faults").write_text(str(faults))

    @property
    def calls(self) -> list[str]:
        """Every command line so far, oldest first."""
        path = self.directory / _CALLS
        return path.read_text().splitlines() if path.exists() else []

    def count(self, start: str) -> int:
        """Return how many command lines begin so."""
        return sum(call.startswith(start) for call in self.calls)

    def serves(self, service: str) -> bool:
        """Whether the process of a service is there."""
        path = self.directory / "run" / service
        pid = path.read_text().strip() if path.exists() else ""
        return pid != "" and Path("/proc", pid).exists()


def missing(*names: str) -> str:
    """Say which of these programs the machine lacks; empty if it has all."""
    lacking = [name for name in names if shutil.which(name) is None]
    return f"{', '.join(lacking)} is not installed" if lacking else ""
