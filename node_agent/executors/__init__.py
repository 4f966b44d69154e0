"""Executors: engines of a site, such as Slurm, that run jobs in place of this host."""
