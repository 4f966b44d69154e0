"""The parts that tie the daemon's packages together: each holds one thread of what happens on the host."""
