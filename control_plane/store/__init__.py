"""Tables, queries by noun and migrations: the only SQL of the control plane.

Queries are plain functions on a `Tx`; `Store.read` and `Store.write` run them in worker threads.
"""
