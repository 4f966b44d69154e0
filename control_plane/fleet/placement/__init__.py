"""Where jobs go: a frozen snapshot of queue and hosts in, placements and reasons out."""
