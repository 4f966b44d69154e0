"""Which source of a setting wins, and that secrets stay masked."""

import json
from pathlib import Path

import pytest

from orquanta.cli.exits import CommandError
from orquanta.cli.profiles import Profile, ProfileBook, check_name, load_profiles, save_profiles
from orquanta.cli.settings import Environment, Flags, Source, resolve
from tests.clients.cli.conftest import RunCli

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
STORED = Profile(server="stored:1", ca_certificate=PEM, email="a@b.c", api_key="stored-key", api_key_id="k-1")
BOOK = ProfileBook(current="lab", profiles={"lab": STORED, "other": Profile(server="other:1")})


def environment(server: str = "", token: str = "", ca_path: str = "", profile: str = "") -> Environment:
    return Environment(Path("/nowhere"), server, token, ca_path, profile, Path("/nowhere"))


def test_profile_is_used_when_nothing_else_is_said() -> None:
    connection = resolve(Flags(), environment(), BOOK)
    assert (connection.server.value, connection.credential.value) == ("stored:1", "stored-key")
    assert connection.ca_certificate == PEM.encode()
    assert connection.server.source is Source.PROFILE


def test_environment_wins_over_the_profile_and_flags_over_the_environment() -> None:
    from_environment = resolve(Flags(), environment(server="env:1", token="t", ca_path="/ca"), BOOK)
    assert (from_environment.server.value, from_environment.server.source) == ("env:1", Source.ENVIRONMENT)
    from_flags = resolve(Flags(server="flag:1"), environment(server="env:1"), BOOK)
    assert (from_flags.server.value, from_flags.server.source) == ("flag:1", Source.FLAG)


@pytest.mark.parametrize("flags", [Flags(server="evil:1"), Flags(profile="other")])
def test_key_and_ca_of_a_profile_stay_with_its_server(flags: Flags) -> None:
    connection = resolve(flags, environment(), BOOK)
    assert connection.credential.value == ""
    assert connection.ca_certificate is None


def test_profiles_make_the_round_trip_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.toml"
    strange = Profile(server='a"b\\c', email="ü\x7f😀\n\t", api_key="'''", ca_certificate=PEM)
    book = BOOK.with_profile("strange", strange, use=True)
    save_profiles(path, book)
    save_profiles(path, book)
    assert load_profiles(path) == book
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


def test_file_that_is_not_toml_is_reported_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("current = ")
    with pytest.raises(CommandError, match="cannot be read"):
        load_profiles(path)


@pytest.mark.parametrize("name", ["", "a.b", "../x", "a b", "x" * 41, "-x"])
def test_profile_names_that_would_break_the_file_are_refused(name: str) -> None:
    with pytest.raises(CommandError):
        check_name(name)


async def test_config_show_masks_secrets_and_says_where_each_value_comes_from(bare_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    save_profiles(path, BOOK)
    variables = {"ORQUANTA_CLI_CONFIG": str(path), "ORQUANTA_TOKEN": "env-token"}
    shown = await bare_cli("config", "show", **variables)
    document = (await bare_cli("config", "show", "--json", **variables)).document()
    assert "stored-key" not in shown.stdout + str(document)
    assert "env-token" not in shown.stdout + str(document)
    assert document["settings"]["token"] == {
        "value": "********",
        "source": "environment",
        "place": "ORQUANTA_TOKEN",
    }
    assert document["settings"]["server"]["place"] == "lab"
    assert document["current"] == "lab"


async def test_config_use_switches_the_profile_and_path_tells_the_file(bare_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    save_profiles(path, BOOK)
    assert (await bare_cli("config", "use", "other", ORQUANTA_CLI_CONFIG=str(path))).code == 0
    assert load_profiles(path).current == "other"
    assert (await bare_cli("config", "use", "nobody", ORQUANTA_CLI_CONFIG=str(path))).code == 3
    assert (await bare_cli("config", "path", ORQUANTA_CLI_CONFIG=str(path))).stdout == f"{path}\n"


async def test_settings_of_a_control_plane_are_shown_with_where_they_come_from(bare_cli: RunCli) -> None:
    done = await bare_cli("config", "show", "--control-plane", "--json", ORQUANTA_LEASE_SECONDS="7")
    assert done.code == 0, done.stderr
    (lease,) = [one for one in json.loads(done.stdout) if one["name"] == "lease_seconds"]
    assert (float(lease["value"]), lease["origin"]) == (7.0, "environment")
