"""Named conditions of a host's GPUs, derived from what the probe reads."""
