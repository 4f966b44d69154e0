"""Settings come from defaults, file, environment and flags, in this order, and wrong ones are named."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from node_agent.accounts import account_of_jobs
from node_agent.errors import SettingsInvalid
from node_agent.health.rules import HealthRules, Hold
from node_agent.settings import Engine, LogLevel, Repairs, load, watchdog_seconds


def test_each_source_overrides_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        'virtual_gpus = "1xL4"\naddress = "10.0.0.1"\nlog_level = "error"\nengine_args = ["--root", "/x"]\n'
    )
    environment = {"ORQUANTA_NODE_ADDRESS": "10.0.0.2", "ORQUANTA_NODE_LOG_LEVEL": "debug", "HOME": "/home/ann"}
    settings = load({"config": file, "log_level": "warning", "address": None}, environment)
    assert settings.virtual_gpus == "1xL4"
    assert settings.address == "10.0.0.2"
    assert settings.log_level is LogLevel.WARNING
    assert settings.engine_args == ("--root", "/x")
    assert settings.container_engine is Engine.AUTO
    assert settings.state_dir.is_absolute()


def test_the_environment_gives_lists_and_booleans_as_text() -> None:
    environment = {
        "ORQUANTA_NODE_ENGINE_ARGS": "--storage-driver vfs --root '/a b'",
        "ORQUANTA_NODE_LOG_JSON": "true",
        "ORQUANTA_NODE_TELEMETRY_INTERVAL_SECONDS": "0.5",
    }
    settings = load({}, environment)
    assert settings.engine_args == ("--storage-driver", "vfs", "--root", "/a b")
    assert settings.log_json
    assert settings.telemetry_interval_seconds == 0.5


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("container_engine", "lxc", "one of auto, podman, docker, none"),
        ("log_level", "loud", "one of debug"),
        ("log_json", "perhaps", "true or false"),
        ("telemetry_interval_seconds", "never", "number of seconds"),
        ("telemetry_interval_seconds", "0.001", "between 0.1 and 60"),
        ("engine_args", "'unclosed", "list of arguments"),
        ("engine_args", " ".join(["x"] * 65), "64 are allowed"),
        ("address", 5, "must be text"),
        ("kernel_log", "kmsg", "absolute path"),
        ("dcgm_url", "ftp://x", "http://host:port/metrics"),
        ("metrics_address", "9445", "HOST:PORT"),
        ("mount_points", "/ var", "absolute path"),
        ("services", 7, "list of words"),
        ("services", " ".join(["x"] * 65), "64 are allowed"),
        ("checks", "x", r"\[\[checks\]\]"),
        ("health", 7, r"\[health\]"),
        ("health", {"stalls": 3}, "unknown key stalls"),
        ("health", {"stalls_fatal": 2.5}, "stalls_fatal is 2.5; it must be a whole number"),
        ("health", {"thermal": 3}, "for_seconds and clear_after_seconds"),
        ("repairs", "sometimes", "one of on, dry-run, off"),
        ("socket", "", "must be a path"),
        ("allow_kmsg_injection", "si", "true or false"),
        ("tools_dir", "tools", "absolute path"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: object, told: str) -> None:
    with pytest.raises(SettingsInvalid, match=told) as caught:
        load({name: value}, {})
    assert name in str(caught.value)


@pytest.mark.parametrize(("text", "told"), [("gpus = 3\n", "unknown key gpus"), ("= broken", "cannot be read")])
def test_a_wrong_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(SettingsInvalid, match=told):
        load({"config": file}, {})


def test_checks_and_thresholds_come_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        """
        repairs = "dry-run"
        services = ["nvidia-dcgm.service"]
        [health]
        stalls_fatal = 5
        consequence_seconds = 30
        thermal = { for_seconds = 10, clear_after_seconds = 20 }
        [[checks]]
        name = "nccl"
        command = ["/opt/checks/nccl", "--quick"]
        """
    )
    settings = load({"config": file, "state_dir": tmp_path}, {})
    assert settings.repairs is Repairs.DRY_RUN
    assert settings.services == ("nvidia-dcgm.service",)
    assert settings.health.stalls_fatal == 5
    assert settings.health.consequence_seconds == 30.0
    assert settings.health.thermal == Hold(10.0, 20.0)
    assert settings.health.hung_tasks_fatal == HealthRules().hung_tasks_fatal
    assert [check.name for check in settings.checks] == ["nccl"]


def test_the_socket_is_below_run_for_the_system_and_beside_the_state_for_others(tmp_path: Path) -> None:
    assert load({"state_dir": tmp_path}, {}).socket == tmp_path / "orquanta-node.sock"
    assert load({"state_dir": "/var/lib/orquanta-node"}, {}).socket.parent == Path("/run/orquanta-node")
    assert load({"state_dir": tmp_path, "socket": "/x/y.sock"}, {}).socket == Path("/x/y.sock")


def test_systemd_says_how_often_it_wants_to_hear_that_the_daemon_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_seconds() == 0.0
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert watchdog_seconds() == 60.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() == 0.0


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="does not exist"):
        load({}, {"ORQUANTA_NODE_CONFIG": str(tmp_path / "none.toml")})


def test_the_account_of_jobs_is_found_by_name_or_number_or_refused() -> None:
    own = pwd.getpwuid(os.geteuid())
    group = grp.getgrgid(own.pw_gid).gr_name
    assert account_of_jobs("") is None
    for text in (own.pw_name, str(own.pw_uid), f"{own.pw_name}:{group}", f"{own.pw_uid}:{own.pw_gid}"):
        assert account_of_jobs(text) == ((own.pw_uid, own.pw_gid) if os.geteuid() == 0 else None)
    for text, told in (("no-such-user", "no user"), (f"{own.pw_name}:no-such-group", "no group"), (":", "no user")):
        with pytest.raises(SettingsInvalid, match=told):
            account_of_jobs(text)
