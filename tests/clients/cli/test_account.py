"""Logging in and out, and where credentials may and may not go."""

import asyncio
from pathlib import Path

import grpc

from orquanta.cli.profiles import load_profiles
from orquanta.v1 import auth_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.conftest import Certificates
from tests.clients.scripted import Failure, ScriptedServer

PASSWORD = "correct horse battery"
SECRET = "oqk_k-1_verysecret"


def let_log_in(server: ScriptedServer) -> None:
    created = auth_pb2.CreateApiKeyResponse(api_key=auth_pb2.ApiKey(id="k-1"), secret=SECRET)
    server.answer("AuthService/Login", auth_pb2.LoginResponse(access_token="jwt"))
    server.answer("AuthService/CreateApiKey", created)
    server.answer(
        "AuthService/WhoAmI",
        auth_pb2.WhoAmIResponse(user=auth_pb2.User(email="ada@example.com", role=auth_pb2.ROLE_USER)),
    )
    server.answer("AuthService/RevokeApiKey", auth_pb2.RevokeApiKeyResponse())


async def log_in(server: ScriptedServer, cli: RunCli, ca_file: Path) -> None:
    let_log_in(server)
    arguments = ("login", "--server", server.address, "--ca", str(ca_file), "--email", "ada@example.com")
    result = await cli(*arguments, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert result.code == 0, result.stderr
    assert PASSWORD not in result.stdout + result.stderr
    assert SECRET not in result.stdout + result.stderr


async def test_login_makes_a_key_for_30_days_and_keeps_it_for_the_owner_only(
    server: ScriptedServer, bare_cli: RunCli, ca_file: Path, home: Path, certificates: Certificates
) -> None:
    await log_in(server, bare_cli, ca_file)
    (request,) = server.requests("AuthService/CreateApiKey", auth_pb2.CreateApiKeyRequest)
    assert "@" in request.name
    assert request.lifetime.seconds == 30 * 86_400
    path = home / ".config" / "orquanta" / "config.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in path.read_text()
    profile = load_profiles(path).profiles["default"]
    assert (profile.server, profile.email, profile.api_key) == (server.address, "ada@example.com", SECRET)
    assert profile.ca_certificate == certificates.ca.decode()


async def test_commands_after_login_need_neither_flags_nor_the_ca_file(
    server: ScriptedServer, bare_cli: RunCli, ca_file: Path
) -> None:
    await log_in(server, bare_cli, ca_file)
    await asyncio.to_thread(ca_file.unlink)
    result = await bare_cli("whoami", "--json")
    assert result.document()["role"] == "user"
    assert server.calls[-1].metadata["authorization"] == f"Bearer {SECRET}"


async def test_key_of_a_profile_is_never_sent_to_another_server(
    server: ScriptedServer, bare_cli: RunCli, ca_file: Path
) -> None:
    await log_in(server, bare_cli, ca_file)
    calls = len(server.calls)
    elsewhere = f"localhost:{server.port}"  # the same machine under a name that the profile does not have
    result = await bare_cli("--server", elsewhere, "--ca", str(ca_file), "whoami")
    assert result.code == 4
    assert f"not logged in to {elsewhere}" in result.stderr
    assert len(server.calls) == calls


async def test_logout_revokes_the_key_and_forgets_it(
    server: ScriptedServer, bare_cli: RunCli, ca_file: Path, home: Path
) -> None:
    await log_in(server, bare_cli, ca_file)
    result = await bare_cli("logout")
    (request,) = server.requests("AuthService/RevokeApiKey", auth_pb2.RevokeApiKeyRequest)
    assert result.code == 0
    assert request.api_key_id == "k-1"
    assert SECRET not in (home / ".config" / "orquanta" / "config.toml").read_text()
    assert (await bare_cli("whoami")).code == 4


async def test_wrong_password_exits_with_4_and_stores_nothing(
    server: ScriptedServer, bare_cli: RunCli, ca_file: Path, home: Path
) -> None:
    server.answer("AuthService/Login", Failure(grpc.StatusCode.UNAUTHENTICATED, "wrong password", "BAD_LOGIN"))
    arguments = ("login", "--server", server.address, "--ca", str(ca_file), "--email", "a@b.c")
    result = await bare_cli(*arguments, "--password-stdin", stdin="nope\n")
    assert result.code == 4
    assert not (home / ".config").exists()


async def test_login_without_a_terminal_says_how_to_give_the_password(bare_cli: RunCli, ca_file: Path) -> None:
    result = await bare_cli("login", "--server", "localhost:1", "--ca", str(ca_file), "--email", "a@b.c")
    assert result.code == 2
    assert "--password-stdin" in result.stderr


async def test_first_use_says_how_to_start(bare_cli: RunCli) -> None:
    result = await bare_cli("goal", "list")
    assert result.code == 2
    assert "orquanta up" in result.stderr


async def test_user_can_be_made_changed_and_listed_without_showing_the_password(
    server: ScriptedServer, cli: RunCli
) -> None:
    user = auth_pb2.User(id="u-1", email="bob@example.com", role=auth_pb2.ROLE_USER)
    server.answer("AuthService/CreateUser", auth_pb2.CreateUserResponse(user=user))
    server.answer("AuthService/UpdateUser", auth_pb2.UpdateUserResponse(user=user))
    server.answer("AuthService/ListUsers", auth_pb2.ListUsersResponse(users=[user]))
    made = await cli("user", "create", "bob@example.com", "--budget", "12.5", "--password-stdin", stdin=PASSWORD)
    await cli("user", "update", "bob@example.com", "--role", "operator", "--disable")
    listed = await cli("user", "list", "--json")
    (create,) = server.requests("AuthService/CreateUser", auth_pb2.CreateUserRequest)
    (update,) = server.requests("AuthService/UpdateUser", auth_pb2.UpdateUserRequest)
    assert PASSWORD not in made.stdout + made.stderr
    assert (create.password, create.budget_usd_micros) == (PASSWORD, 12_500_000)
    assert (update.role, update.disabled, update.HasField("max_gpus")) == (auth_pb2.ROLE_OPERATOR, True, False)
    assert listed.document()["users"][0]["email"] == "bob@example.com"


async def test_new_key_prints_its_secret_alone_on_stdout(server: ScriptedServer, cli: RunCli) -> None:
    let_log_in(server)
    result = await cli("key", "create", "ci", "--lifetime", "7d")
    assert result.stdout == f"{SECRET}\n"
