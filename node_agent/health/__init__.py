"""Conditions of a host, its GPUs and links, and the repairs they ask for, derived from what the probes see."""
