"""What a person asks of the simulator."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from simulator.draws import Duration
from simulator.faults import FAULTS, OFFLINE, Script
from simulator.models import MODELS

HOSTS_MAX: Final = 20_000
GPUS_MAX: Final = 64
_PROCESSES_MAX: Final = 64
_THOUSAND: Final = 1000


class TelemetryWay(Enum):
    """How telemetry and output go to the broker; the value is what a person writes."""

    OWN = "own"
    SHARED = "shared"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Options:
    """The whole command line, checked. `first` is the index of the first host of this process."""

    hosts: int
    first: int
    processes: int
    name: str
    gpus: int
    gpu_type: str
    racks: int
    zones: int
    server: str
    tokens: tuple[str, ...]
    api_key: str
    ca: bytes
    state_dir: Path | None
    journal: Path | None
    job_seconds: Duration
    job_failures: int
    repair_seconds: Duration
    reboot_seconds: Duration
    repair_failures: int
    scripts: tuple[Script, ...]
    offline_seconds: float
    telemetry: TelemetryWay
    telemetry_seconds: float
    nats_password: str
    connects_per_second: float
    duration_seconds: float
    seed: int
    json: bool
    follow: bool
    script_on_signal: bool = False

    def host_name(self, index: int) -> str:
        """Return the name of a host."""
        return f"{self.name}-{index:05d}"

    def labels(self, index: int) -> dict[str, str]:
        """Return the labels of a host: racks are filled one after the other, and divided among the zones."""
        found = {"simulated": "true"}
        if self.racks:
            found["rack"] = f"rack-{index % self.racks}"
        if self.zones:
            found["zone"] = f"zone-{index % self.racks % self.zones}"
        return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="orquanta-sim",
        description="Runs virtual GPU hosts against a real control plane: they join, take jobs, send telemetry, break "
        "and are repaired. Everything is drawn from --seed.",
        epilog=f"Faults: {', '.join(FAULTS)}, {OFFLINE}. NAME:RATE happens by chance, so often per host and hour; "
        "NAME@SECONDS:HOSTS happens once, on so many hosts at the same moment. Durations: 90, uniform:60,120 or "
        "lognormal:MEDIAN,SIGMA.",
    )
    fleet = made.add_argument_group("the fleet")
    fleet.add_argument("--hosts", type=int, default=10, help="how many hosts (10)")
    fleet.add_argument("--gpus", type=int, default=8, help="GPUs of each (8)")
    fleet.add_argument("--gpu-type", choices=sorted(MODELS), default="H100", help="their model (H100)")
    fleet.add_argument("--racks", type=int, default=0, help="divide the hosts into so many racks")
    fleet.add_argument("--zones", type=int, default=0, help="divide the racks into so many zones")
    fleet.add_argument("--name", default="sim", help="hosts are called NAME-00000 and so on (sim)")
    fleet.add_argument("--seed", type=int, default=1, help="what is left to chance begins here (1)")
    way = made.add_argument_group("the control plane")
    way.add_argument("--server", required=True, help="address of the people's port, HOST:PORT")
    way.add_argument("--token", action="append", default=[], help="a join token; one for each host")
    way.add_argument("--token-file", type=Path, help="join tokens, one a line")
    way.add_argument("--api-key-file", type=Path, help="an operator's API key, to make the join tokens with")
    way.add_argument("--ca-file", type=Path, help="the control plane's CA certificate; needed with --api-key-file")
    way.add_argument("--state-dir", type=Path, help="keep the hosts' identities here, and come back as the same nodes")
    way.add_argument(
        "--journal", type=Path, help="write each start and end of a job here, and remember them, coming back"
    )
    way.add_argument("--connects-per-second", type=float, default=100.0, help="how fast hosts appear (100)")
    jobs = made.add_argument_group("what happens")
    jobs.add_argument("--job-seconds", type=duration, default="lognormal:120,0.8", help="how long jobs run")
    jobs.add_argument("--job-failures", type=share, default=0, help="share of jobs that fail, 0 to 1 (0)")
    jobs.add_argument("--fault", action="append", type=script, default=[], help="see below; may be given several times")
    jobs.add_argument("--offline-seconds", type=float, default=60.0, help="how long an offline host is away (60)")
    jobs.add_argument("--repair-seconds", type=duration, default="uniform:2,5", help="how long a repair takes")
    jobs.add_argument("--reboot-seconds", type=duration, default="uniform:20,40", help="how long a reboot takes")
    jobs.add_argument("--repair-failures", type=share, default=0, help="share of repairs that do not help (0)")
    data = made.add_argument_group("telemetry")
    data.add_argument(
        "--telemetry",
        choices=[one.value for one in TelemetryWay],
        default=TelemetryWay.OWN.value,
        help="over a connection of each host's own, over a shared one (benchmarks), or none (own)",
    )
    data.add_argument("--telemetry-seconds", type=float, default=1.0, help="between two samples of a host (1)")
    data.add_argument("--nats-password-file", type=Path, help="password of the broker's control user, for `shared`")
    run = made.add_argument_group("this program")
    run.add_argument("--duration", type=float, default=0.0, help="stop after so many seconds; 0 runs until Ctrl-C")
    run.add_argument("--processes", type=int, default=1, help="share the hosts among so many processes (1)")
    run.add_argument("--json", action="store_true", help="print what happened as one JSON object at the end")
    run.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)  # of the hosts of this process
    run.add_argument("--follow", action="store_true", help=argparse.SUPPRESS)  # print figures for the first process
    run.add_argument("--script-on-signal", action="store_true", help=argparse.SUPPRESS)  # moments count from SIGUSR1
    return made


def read(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; ends the program, saying what is wrong, if it makes no sense."""
    asked = parser()
    given = asked.parse_args(arguments)
    _check_numbers(asked, given)
    tokens = [*given.token, *(_text(asked, given.token_file).split() if given.token_file else [])]
    if not tokens and not given.api_key_file and not given.state_dir:
        asked.error("hosts join with tokens: give --api-key-file, or one --token for each host")
    if tokens and not given.api_key_file and len(tokens) < given.hosts and not given.state_dir:
        asked.error(f"{given.hosts} hosts need {given.hosts} tokens, there are {len(tokens)}: give --api-key-file")
    if given.processes > 1 and not given.api_key_file:
        asked.error("several processes need --api-key-file: each makes the tokens of its own hosts")
    if given.api_key_file and not given.ca_file:
        asked.error("--api-key-file needs --ca-file: the control plane keeps it as identity/trust.crt")
    if given.telemetry == TelemetryWay.SHARED.value and not given.nats_password_file:
        asked.error("--telemetry shared needs --nats-password-file, see docs/simulator.md")
    for folder in (given.state_dir, given.journal and given.journal.parent):
        _make(asked, folder)
    if given.journal is not None:
        _append(asked, given.journal)
    return Options(
        hosts=given.hosts,
        first=given.first,
        processes=given.processes,
        name=given.name,
        gpus=given.gpus,
        gpu_type=given.gpu_type,
        racks=given.racks,
        zones=given.zones,
        server=given.server,
        tokens=tuple(tokens),
        api_key=_secret(asked, given.api_key_file) if given.api_key_file else "",
        ca=_text(asked, given.ca_file).encode() if given.ca_file else b"",
        state_dir=given.state_dir,
        journal=given.journal,
        job_seconds=given.job_seconds,
        job_failures=given.job_failures,
        repair_seconds=given.repair_seconds,
        reboot_seconds=given.reboot_seconds,
        repair_failures=given.repair_failures,
        scripts=tuple(given.fault),
        offline_seconds=given.offline_seconds,
        telemetry=TelemetryWay(given.telemetry),
        telemetry_seconds=given.telemetry_seconds,
        nats_password=_secret(asked, given.nats_password_file) if given.nats_password_file else "",
        connects_per_second=given.connects_per_second,
        duration_seconds=given.duration,
        seed=given.seed,
        json=given.json,
        follow=given.follow,
        script_on_signal=given.script_on_signal,
    )


def _check_numbers(asked: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    bounds = {
        "--hosts": (given.hosts, 1, HOSTS_MAX),
        "--gpus": (given.gpus, 1, GPUS_MAX),
        "--racks": (given.racks, 0, HOSTS_MAX),
        "--zones": (given.zones, 0, HOSTS_MAX),
        "--processes": (given.processes, 1, min(_PROCESSES_MAX, max(1, given.hosts))),
        "--connects-per-second": (given.connects_per_second, 0.1, 10_000),
        "--telemetry-seconds": (given.telemetry_seconds, 0.05, 3600),
        "--duration": (given.duration, 0, 30 * 86_400),
        "--offline-seconds": (given.offline_seconds, 0, 86_400),
    }
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            asked.error(f"{name} must be from {least:g} to {most:g}, not {value:g}")
    if given.zones > given.racks:
        asked.error(f"--zones {given.zones} divides the racks: give --racks, at least as many")


def duration(text: str) -> Duration:
    """Read a duration, for argparse."""
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def script(text: str) -> Script:
    """Read when a fault happens, for argparse."""
    try:
        return Script.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def share(text: str) -> int:
    """Read a share from 0 to 1 as so many in a thousand, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write a number from 0 to 1")
    return round(value * _THOUSAND)


def _text(asked: argparse.ArgumentParser, file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        asked.error(f"{file} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        asked.error(f"{file} cannot be read: it is no text")


def _secret(asked: argparse.ArgumentParser, file: Path) -> str:
    return _text(asked, file).strip() or asked.error(f"{file} is empty")


def _make(asked: argparse.ArgumentParser, folder: Path | None) -> None:
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        asked.error(f"{folder} cannot be made: {error.strerror}")


def _append(asked: argparse.ArgumentParser, file: Path) -> None:
    try:
        file.open("ab").close()
    except OSError as error:
        asked.error(f"{file} cannot be written: {error.strerror}")
