"""The blocking twin of `AsyncClient`: the same calls, run on a private event loop."""
