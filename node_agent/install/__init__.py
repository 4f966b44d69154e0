"""Setting the daemon up as a service of this host, and taking it away again."""
