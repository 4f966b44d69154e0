"""Repairs: the ladder's rungs on this host, each with preconditions, a time limit, an undo and a verification."""
