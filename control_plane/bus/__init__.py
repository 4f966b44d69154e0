"""Subjects, streams, the embedded broker and its client: the only NATS code."""
