"""The fleet's tools as an MCP server. Needs the extra `mcp`."""
