"""What the host must not forget until it is in the control plane's books: a bounded, durable queue on disk."""
