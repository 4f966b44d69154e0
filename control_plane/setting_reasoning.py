"""Models, bounds of reasoning runs, tools of others, and memory."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from control_plane.mcp_forms import McpServers
from control_plane.model_forms import ModelEndpoints
from control_plane.setting_section import FilePath, SettingSection


class ReasoningSettings(SettingSection):
    """Models, bounds of reasoning runs, tools of others, and memory."""

    model_endpoints: ModelEndpoints = ()
    """Models to reason with, best first: tables with name, base_url, model, input_usd_per_million,
    output_usd_per_million, api_key_file or api_key_env; in a text, the same as words of the form key=value. Without
    one, everything goes by rules."""
    model_calls: bool = True
    """Ask the models that are configured; without it, everything goes by rules."""
    model_cost_per_day_usd: Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = Decimal(20)
    """What models may cost in a day (UTC) for each user, in US dollars, and for the agents that act for nobody."""
    run_turns_max: Annotated[int, Field(ge=1, le=100)] = 12
    """Turns of a model that one reasoning run may take."""
    run_tool_calls_max: Annotated[int, Field(ge=1, le=200)] = 24
    """Calls of tools that one reasoning run may make."""
    run_input_tokens_max: Annotated[int, Field(ge=1_000, le=10_000_000)] = 60_000
    """Tokens that one reasoning run may send to a model."""
    run_output_tokens_max: Annotated[int, Field(ge=100, le=1_000_000)] = 16_000
    """Tokens that a model may write in one reasoning run."""
    run_cost_max_usd: Annotated[Decimal, Field(ge=0, le=1_000, allow_inf_nan=False)] = Decimal("0.50")
    """What a model may cost in one reasoning run, in US dollars."""
    run_seconds_max: Annotated[float, Field(ge=1, le=3_600)] = 600.0
    """Work of one reasoning run, in seconds; waiting for people and for jobs does not count."""
    run_replans_max: Annotated[int, Field(ge=0, le=5)] = 2
    """Times that a goal's failed jobs may be run again, changed where that helps; 0 leaves them failed."""
    mcp_servers: McpServers = ()
    """MCP servers whose tools agents may use: tables with name, command or url, tools, read (those of the tools that
    change nothing; no other is called), role, timeout_seconds, token_file; in a text, words of the form key=value."""
    memory_store: Literal["local", "weaviate", "off"] = "local"
    """Where memories are kept: a file in the state directory, a Weaviate server, or nowhere."""
    memory_days: Annotated[int, Field(ge=1, le=3_650)] = 180
    """Days after which a memory is forgotten unless the same is seen again."""
    memory_embedder: Literal["hashed", "minilm", "http"] = "hashed"
    """What makes vectors of memories: hashed pieces of words, the model MiniLM (install it with:
    python -m control_plane.memory.install), or a server with /v1/embeddings."""
    memory_embedder_url: str = ""
    """With http: where that server is, for example http://127.0.0.1:8080/v1."""
    memory_embedder_model: str = ""
    """With http: the name of its model."""
    memory_embedder_dimensions: Annotated[int, Field(ge=1, le=8_192)] = 768
    """With http: the length of the model's vectors."""
    memory_embedder_key_file: FilePath | None = None
    """With http: file that holds the key for that server, if it needs one."""
    memory_weaviate_url: str = "http://127.0.0.1:8080"
    """With weaviate: where the server is."""
    memory_weaviate_grpc_port: Annotated[int, Field(ge=1, le=65_535)] = 50_051
    """With weaviate: the port of its gRPC, on the same host."""
    memory_weaviate_key_file: FilePath | None = None
    """With weaviate: file that holds the API key, if it needs one."""
