"""Tools of other MCP servers: called as a stranger's, whatever they say of themselves. Needs the extra `mcp`."""
