"""Calls that may hang, held to a deadline: threads that are left behind, commands that are killed."""
