"""The fleet and the queue in memory, kept as the store has them: read once, then patched by what changed."""
