"""How MCP servers are named in the settings."""

from pathlib import Path

import pytest

from control_plane import mcp_terms
from control_plane.errors import PreconditionFailed
from control_plane.model.identity import Role
from control_plane.setting_sources import SettingsError
from control_plane.settings import Settings, load_settings
from control_plane.tools.imported.server import ForeignServer

NOWHERE = Path("/nonexistent/server.toml")


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "server.toml"
    file.write_text(f'state_dir = "{tmp_path / "state"}"\n' + text)
    return load_settings(["--config", str(file)], environ={}, default_file=NOWHERE)


def test_a_table_names_a_server_and_what_it_may_do(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    settings = load(
        tmp_path,
        f"""
[[mcp_servers]]
name = "docs"
command = ["docs-mcp", "--stdio"]
tools = ["search", "fetch@0123456789abcdef"]
read = ["search"]

[[mcp_servers]]
name = "wiki"
url = "https://wiki.example.com/mcp"
token_file = "{token}"
tools = ["page"]
role = "operator"
""",
    )
    docs, wiki = mcp_terms.servers(settings)
    assert docs == ForeignServer(
        "docs",
        {"search": "", "fetch": "0123456789abcdef"},
        reads=frozenset({"search"}),
        command=("docs-mcp", "--stdio"),
    )
    assert (wiki.token, wiki.role, wiki.reads) == ("s3cret", Role.OPERATOR, frozenset())
    assert "s3cret" not in repr(wiki) + repr(settings) + repr(settings.sources())


def test_words_in_a_variable_say_the_same() -> None:
    text = "name=docs command='docs-mcp --stdio' tools=search;fetch read=search"
    settings = load_settings([], environ={"ORQUANTA_MCP_SERVERS": text}, default_file=NOWHERE)
    (docs,) = mcp_terms.servers(settings)
    assert (docs.command, set(docs.tools), docs.reads) == (
        ("docs-mcp", "--stdio"),
        {"search", "fetch"},
        frozenset({"search"}),
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("name=docs tools=search", "command or a url"),
        ("name=docs command=x url=https://x.example tools=search", "command or a url"),
        ("name=orquanta command=x tools=search", "our own tools"),
        ("name=docs command=x tools=search read=delete", "some of the tools"),
        ("name=docs command=x tools=sea.rch", "names such as"),
        ("name=docs url=http://x.example tools=search", "https://"),
        ("name=docs url=https://a:b@x.example tools=search", "no password"),
        ("name=Docs command=x tools=search", "pattern"),
        ("docs", "key=value"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_be_right(words: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        load_settings([], environ={"ORQUANTA_MCP_SERVERS": words}, default_file=NOWHERE)


def test_two_servers_of_one_name_are_refused(tmp_path: Path) -> None:
    one = '[[mcp_servers]]\nname = "docs"\ncommand = ["x"]\ntools = ["y"]\n'
    with pytest.raises(SettingsError, match="name of its own"):
        load(tmp_path, one + one)


def test_what_was_remembered_and_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    kept = settings.state_dir / "mcp" / "tools.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{")
    with pytest.raises(PreconditionFailed, match="cannot be read"):
        mcp_terms.pins(settings)
