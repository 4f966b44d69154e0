"""The kernel log: read as it is printed, and what its lines mean to a GPU host."""
