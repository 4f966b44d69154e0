"""The orchestrator: takes goals, has them planned, and submits their jobs."""
