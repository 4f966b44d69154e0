"""The orchestrator: turns a goal in plain words into a typed plan."""
