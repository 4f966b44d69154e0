"""Thousands of light virtual hosts in one process that speak the daemon's protocol: for demos, tests and benchmarks."""
