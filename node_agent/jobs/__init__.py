"""Running jobs on this host: supervisors, processes and containers, logs on disk, re-adoption, fencing.

This file stays empty of imports: the supervisor loads modules from this package with nothing but the standard
library at hand, and must start in milliseconds.
"""
