"""What the daemon answers on its own host, over a unix socket."""
