"""Builds the Debian package of the daemon, with a virtual environment of its own, from this working tree.

The environment is made with the system's Python, which the package then depends on by its minor version.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from node_agent.install.apply import apply
from node_agent.install.plan import Target, install_plan
from orquanta import __version__

_HOME: Final = Path("opt/orquanta-node")
_CONTROL: Final = """Package: orquanta-node
Version: {version}
Section: admin
Priority: optional
Architecture: {architecture}
Depends: python3 (>= {python}), python3 (<< {next_python}), adduser, systemd
Installed-Size: {kilobytes}
Maintainer: OrQuanta maintainers
Description: OrQuanta daemon of a GPU host
 Joins a fleet, runs its jobs, watches every GPU and repairs what breaks.
"""
_POSTINST: Final = """#!/bin/sh
set -e
getent passwd orquanta-jobs >/dev/null || adduser --system --group --no-create-home --quiet orquanta-jobs
ln -sf /opt/orquanta-node/bin/orquanta-node /usr/bin/orquanta-node
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --quiet orquanta-node.service
    # Jobs run on under their own supervisors while the daemon is replaced.
    systemctl try-restart orquanta-node.service
fi
"""
_PRERM: Final = """#!/bin/sh
set -e
if [ "$1" = remove ]; then
    [ ! -d /run/systemd/system ] || systemctl disable --now --quiet orquanta-node.service || true
    rm -f /usr/bin/orquanta-node
fi
"""
_POSTRM: Final = """#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rm -rf /var/lib/orquanta-node /opt/orquanta-node
fi
[ ! -d /run/systemd/system ] || systemctl daemon-reload || true
"""


def main() -> int:
    """Build the package and print its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="/usr/bin/python3", help="the Python of the hosts (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="where the package goes (default: %(default)s)")
    options = parser.parse_args()
    tree = Path(__file__).resolve().parent.parent
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="orquanta-deb-") as work:
        sys.stdout.write(f"{build(tree, Path(work), options.python, options.out.resolve())}\n")
    return 0


def build(tree: Path, work: Path, python: str, out: Path) -> Path:
    """Build in `work` and return the package's path in `out`."""
    minor = int(_output(python, "-c", "import sys; print(sys.version_info.minor)"))
    version = __version__
    root = work / "root"
    root.mkdir(mode=0o755)
    _environment(tree, work, root / _HOME, python)
    _service(root)
    architecture = _output("dpkg", "--print-architecture")
    control = _CONTROL.format(
        version=version,
        architecture=architecture,
        python=f"3.{minor}",
        next_python=f"3.{minor + 1}",
        kilobytes=sum(file.lstat().st_size for file in root.rglob("*")) // 1024,
    )
    _scripts(root / "DEBIAN", control)
    package = out / f"orquanta-node_{version}_{architecture}.deb"
    _run("dpkg-deb", "--root-owner-group", "--build", str(root), str(package))
    return package


def _environment(tree: Path, work: Path, home: Path, python: str) -> None:
    """Install the daemon and its pinned dependencies, each checked against its hash."""
    sys.stderr.write("Building the wheel and its environment (about a minute) ...\n")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work), cwd=tree)
    wheel = next(work.glob("orquanta-*.whl"))
    pins = work / "requirements.txt"
    _run(
        *(
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--extra",
            "node",
            "--generate-hashes",
            "--no-header",
        ),
        *("--python", python, "--constraints", "requirements-dev.txt", "pyproject.toml", "-o", str(pins)),
        cwd=tree,
    )
    _run(python, "-m", "venv", "--without-pip", str(home))
    install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(home / "bin" / "python"))
    _run(*install, "--require-hashes", "-r", str(pins))
    _run(*install, "--no-deps", str(wheel))
    _move(home)
    _run(
        python,
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
        "-s",
        str(home),
        "-p",
        f"/{_HOME}",
        str(home / "lib"),
    )


def _move(home: Path) -> None:
    """Make the environment believe that it lives where the package puts it."""
    for file in (home / "bin").iterdir():
        if file.is_symlink() or not file.is_file():
            continue
        text = file.read_bytes()
        if text.startswith(b"#!") or file.suffix in {"", ".fish", ".csh", ".ps1"}:
            file.write_bytes(text.replace(str(home).encode(), f"/{_HOME}".encode()))
    settings = home / "pyvenv.cfg"
    settings.write_text(re.sub(r"(?m)^command = .*\n", "", settings.read_text()))
    shutil.rmtree(home / "include", ignore_errors=True)


def _service(root: Path) -> None:
    """The unit and the settings, as `orquanta-node install` writes them."""
    executable = f"/{_HOME}/bin/orquanta-node"
    target = Target(root, Path(executable), Path("/var/lib/orquanta-node"), "orquanta-jobs", live=False)
    apply(install_plan(target, start=False), root, dry_run=False, say=lambda _: None)
    unit = root / "lib/systemd/system/orquanta-node.service"
    unit.parent.mkdir(parents=True)
    (root / "etc/systemd/system/orquanta-node.service").rename(unit)
    shutil.rmtree(root / "etc/systemd")
    for directory in (path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()):
        directory.chmod(0o755)


def _scripts(directory: Path, control: str) -> None:
    directory.mkdir()
    (directory / "control").write_text(control)
    (directory / "conffiles").write_text("/etc/orquanta/node.toml\n")
    for name, text in (("postinst", _POSTINST), ("prerm", _PRERM), ("postrm", _POSTRM)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)


def _run(*arguments: str, cwd: Path | None = None) -> None:
    subprocess.run(
        arguments, check=True, cwd=cwd, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )


def _output(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"build_deb: `{' '.join(error.cmd[:4])} ...` failed with exit code {error.returncode}")
