"""Chaos with real processes: everything is killed, stopped and cut while jobs run, and in the end the books balance."""
