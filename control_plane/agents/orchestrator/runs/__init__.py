"""Reasoning runs: what to do next is decided from rows, and each step is written down before it is taken."""
