"""What an operator asks a daemon on its host, from the command line."""
