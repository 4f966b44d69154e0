"""Traces: what was done for a goal, from its words to the exit of its last process, as spans for OpenTelemetry."""
