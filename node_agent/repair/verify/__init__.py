"""Verification: whether GPUs serve, tested under load as far as this host allows, and what could not be tested."""
