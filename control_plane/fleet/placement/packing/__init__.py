"""Packing of tasks that take shares of a GPU or whole GPUs: a cluster's state, and policies that choose a node."""
