"""Settings: who wins, where values came from, what is shown, what errors say."""

import argparse
from decimal import Decimal
from pathlib import Path

import pytest

from control_plane import model_terms
from control_plane.setting_addresses import split_address
from control_plane.setting_sources import Origin, SettingsError
from control_plane.settings import Settings, add_settings_arguments, load_settings, settings_from

NOWHERE = Path("/nonexistent/server.toml")


def load(*argv: str, **environ: str) -> Settings:
    return load_settings(argv, environ=environ, default_file=NOWHERE)


def write(path: Path, text: str) -> Path:
    file = path / "server.toml"
    file.write_text(text)
    return file


def test_defaults_are_those_of_the_design() -> None:
    settings = load()
    assert (settings.people_address, settings.nodes_address) == ("127.0.0.1:50051", "127.0.0.1:50052")
    assert (settings.lease_seconds, settings.heartbeat_seconds, settings.fence_seconds) == (15, 3, 300)
    assert settings.approval_above_usd == Decimal(100)
    assert settings.database == f"sqlite:///{settings.state_dir}/orquanta.db"


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, "lease_seconds = 20\nheartbeat_seconds = 2\nfence_seconds = 30\n")
    settings = load(
        "--config", str(file), "--lease-seconds", "40",
        ORQUANTA_LEASE_SECONDS="30", ORQUANTA_HEARTBEAT_SECONDS="4",
    )  # fmt: skip
    assert settings.lease_seconds == 40
    assert settings.heartbeat_seconds == 4
    assert settings.fence_seconds == 30
    shown = {source.name: source for source in settings.sources()}
    assert (shown["lease_seconds"].origin, shown["lease_seconds"].place) == (Origin.FLAG, "--lease-seconds")
    assert shown["heartbeat_seconds"].origin is Origin.ENVIRONMENT
    assert shown["heartbeat_seconds"].place == "ORQUANTA_HEARTBEAT_SECONDS"
    assert (shown["fence_seconds"].origin, shown["fence_seconds"].place) == (Origin.FILE, str(file))
    assert shown["log_level"].origin is Origin.DEFAULT


def test_the_file_can_be_named_in_the_environment(tmp_path: Path) -> None:
    assert load(ORQUANTA_CONFIG=str(write(tmp_path, "max_gpus_per_user = 8"))).max_gpus_per_user == 8


def test_a_lease_can_be_shortened_by_one_flag() -> None:
    assert load("--lease-seconds", "4").lease_seconds == 4


def test_lists_come_from_commas_repeated_flags_and_toml(tmp_path: Path) -> None:
    assert load("--advertise-names", "a,b", "--advertise-names", "c").advertise_names == ("a", "b", "c")
    assert load(ORQUANTA_ADVERTISE_NAMES="a, b,").advertise_names == ("a", "b")
    file = write(tmp_path, 'advertise_names = ["gpu.example.org", "10.0.0.1"]')
    assert load("--config", str(file)).advertise_names == ("gpu.example.org", "10.0.0.1")


def test_a_switch_can_be_turned_off_again_by_a_flag() -> None:
    assert load(ORQUANTA_INSECURE="true").insecure
    assert not load("--no-insecure", ORQUANTA_INSECURE="true").insecure


def test_secrets_are_masked_and_have_no_flag() -> None:
    settings = load(
        ORQUANTA_ADMIN_PASSWORD="hunter22",
        ORQUANTA_DATABASE_URL="postgresql://orq:geheim@db.example.org:5432/orq?sslmode=require",
        ORQUANTA_NATS_URL="tls://u:verborgen@n1:4222,tls://n2:4222",
    )
    text = repr([source.value for source in settings.sources()]) + repr(settings)
    assert "hunter22" not in text
    shown = {source.name: source.value for source in settings.sources()}
    assert shown["database_url"] == "postgresql://orq:********@db.example.org:5432/orq?sslmode=require"
    assert shown["nats_url"] == "tls://u:********@n1:4222, tls://n2:4222"
    assert settings.password("admin_password") == "hunter22"
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_settings_arguments(parser)
    assert "--admin-password" not in parser._option_string_actions
    assert "--admin-password-file" in parser._option_string_actions


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    settings = load("--admin-password-file", str(file))
    assert settings.password("admin_password") == "correct horse"
    assert settings.password("nats_password") is None
    file.unlink()
    with pytest.raises(SettingsError, match=r"admin_password_file: .* cannot be read"):
        settings.password("admin_password")


def test_the_daemons_own_variables_are_none_of_the_control_planes() -> None:
    settings = load(ORQUANTA_NODE_METRICS_ADDRESS="127.0.0.1:9", ORQUANTA_NODE_ADDRESS="cp.example:7702")
    assert settings == load()


@pytest.mark.parametrize(
    ("argv", "environ", "expected"),
    [
        (["--lease-seconds", "abc"], {}, r"lease_seconds = 'abc' \(--lease-seconds\): .*valid number"),
        ([], {"ORQUANTA_FENCE_SECONDS": "-1"}, r"fence_seconds = '-1' \(ORQUANTA_FENCE_SECONDS\): .*greater than 0"),
        ([], {"ORQUANTA_LEASE_SECONDS": "nan"}, "lease_seconds = 'nan'"),
        (["--people-address", "here"], {}, r"people_address = 'here' .*host:port"),
        (["--people-address", "h:70000"], {}, "port from 0 to 65535"),
        (["--log-level", "loud"], {}, "'debug', 'info', 'warning' or 'error'"),
        (["--heartbeat-seconds", "15"], {}, "lease_seconds should be longer than heartbeat_seconds"),
        (["--ca-key-file", "k.pem"], {}, "ca_certificate_file and ca_key_file should be set together"),
        ([], {"ORQUANTA_LEASE_SECOND": "4"}, "did you mean ORQUANTA_LEASE_SECONDS?"),
    ],
)
def test_a_bad_value_names_its_source_and_what_is_allowed(
    argv: list[str], environ: dict[str, str], expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected):
        load(*argv, **environ)


def test_a_bad_secret_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        load(ORQUANTA_ADMIN_PASSWORD="hunter22", ORQUANTA_ADMIN_PASSWORD_FILE="/x", ORQUANTA_LEASE_SECONDS="x")
    assert "hunter22" not in caught.value.message


def test_unknown_keys_of_the_file_are_errors_that_suggest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"lease_second is not a setting; did you mean lease_seconds\?"):
        load("--config", str(write(tmp_path, "lease_second = 4")))


@pytest.mark.parametrize(
    ("content", "expected"),
    [("lease_seconds = = 4", "is not TOML"), ("[server]\nlease = 1", "server is not a setting")],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str, expected: str) -> None:
    file = write(tmp_path, content)
    with pytest.raises(SettingsError, match=expected) as caught:
        load("--config", str(file))
    assert str(file) in caught.value.message


def test_a_file_that_was_asked_for_must_exist_but_the_default_one_need_not(tmp_path: Path) -> None:
    assert load().lease_seconds == 15
    with pytest.raises(SettingsError, match="cannot be read"):
        load("--config", str(tmp_path / "absent.toml"))
    file = write(tmp_path, "lease_seconds = 9")
    assert load_settings([], environ={}, default_file=file).lease_seconds == 9


def test_variables_of_other_programs_and_empty_ones_are_left_alone() -> None:
    assert load(ORQUANTA_TOKEN="x", ORQUANTA_SERVER="h:1", ORQUANTA_STATE_DIR="").lease_seconds == 15


def test_the_constructor_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORQUANTA_LEASE_SECONDS", "99")
    monkeypatch.setenv("lease_seconds", "98")
    assert Settings().lease_seconds == 15


def test_settings_fit_into_a_parser_with_commands_of_its_own() -> None:
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(["--json", "--lease-seconds", "6"])
    assert settings_from(arguments, environ={}, default_file=NOWHERE).lease_seconds == 6


def test_every_setting_has_a_help_text() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_addresses_are_taken_apart() -> None:
    assert split_address("[::1]:50051") == ("::1", 50051)
    assert split_address("0.0.0.0:0") == ("0.0.0.0", 0)
    for bad in ("", "h", "h:", ":x", "a b:1", "::1:5"):
        with pytest.raises(ValueError, match="host:port"):
            split_address(bad)


ENDPOINTS = """
[[model_endpoints]]
name = "hosted"
base_url = "https://api.example.com/v1/"
model = "big-1"
input_usd_per_million = 0.25
output_usd_per_million = 2
api_key_file = "{key}"
context_tokens = 128000
headers = {{ "X-Team" = "blue-secret" }}

[[model_endpoints]]
name = "local"
base_url = "http://127.0.0.1:8080/v1"
model = "small"
input_usd_per_million = 0
output_usd_per_million = 0
"""
WORDS = "name=local base_url=http://127.0.0.1:8080/v1 model=small input_usd_per_million=0 output_usd_per_million=0"


def test_models_are_named_in_tables_of_the_file_best_first_with_keys_in_files_of_their_own(tmp_path: Path) -> None:
    key = tmp_path / "model.key"
    key.write_text("sk-very-secret-1\n")
    settings = load("--config", str(write(tmp_path, ENDPOINTS.format(key=key))))
    hosted, local = model_terms.endpoints(settings)
    assert (hosted.name, hosted.base_url, hosted.model) == ("hosted", "https://api.example.com/v1", "big-1")
    assert (hosted.api_key, hosted.context_tokens, hosted.headers) == (
        "sk-very-secret-1",
        128_000,
        {"X-Team": "blue-secret"},
    )
    assert hosted.cost_usd(1_000_000, 500_000) == Decimal("1.25")
    assert (local.api_key, local.cost_usd(10**9, 10**9)) == ("", Decimal(0))
    shown = repr((settings.sources(), settings, hosted))
    assert "very-secret" not in shown
    assert "blue-secret" not in shown
    assert "https://api.example.com/v1" in shown


def test_models_can_be_named_by_words_in_the_environment_and_flags_and_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_KEY", "k-123")
    words = f"{WORDS}, {WORDS.replace('name=local', 'name=two')} api_key_env=SOME_KEY header.X-A=b"
    both = model_terms.endpoints(load(ORQUANTA_MODEL_ENDPOINTS=words))
    assert [(one.name, one.api_key, dict(one.headers)) for one in both] == [
        ("local", "", {}),
        ("two", "k-123", {"X-A": "b"}),
    ]
    assert [one.name for one in model_terms.endpoints(load("--model-endpoints", WORDS))] == ["local"]
    assert model_terms.endpoints(load("--no-model-calls", ORQUANTA_MODEL_ENDPOINTS=words)) == ()
    assert load().model_cost_per_day_usd == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("just words", "key=value"),
        (WORDS.replace("output_usd_per_million=0", ""), "output_usd_per_million"),
        (WORDS.replace("http://", "ftp://"), "should be an address such as"),
        (WORDS.replace("http://", "http://bob:hunter2@"), "should hold no password"),
        (f"{WORDS} colour=red", "colour"),
        (f"{WORDS}, {WORDS}", "name of its own"),
        (f"{WORDS} api_key_env=A api_key_file=/b", "not be set both"),
        (f"{WORDS} api_key_env=sk-1234", "name of a variable"),
        (f"{WORDS} header.X_Y=1", "letters, digits and hyphens"),
    ],
)
def test_models_that_cannot_be_used_are_named_with_what_is_wrong(words: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(ORQUANTA_MODEL_ENDPOINTS=words)
    assert told in str(caught.value)
    assert "model_endpoints" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_model_whose_key_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    for missing in ("api_key_env=NOT_THERE_AT_ALL", f"api_key_file={tmp_path / 'none'}"):
        with pytest.raises(SettingsError, match="local"):
            model_terms.endpoints(load(ORQUANTA_MODEL_ENDPOINTS=f"{WORDS} {missing}"))
